package main

import (
	"fmt"
	"path/filepath"
	"strings"
)

// nginxHTTP is nginx doing what httpBootstrap asks for, as near as it comes.
func nginxHTTP(ports []int, up, dir string) []string {
	var b strings.Builder
	fmt.Fprintf(&b, `worker_processes 1; daemon off; master_process off; pid %s; error_log stderr crit;
events { worker_connections 16384; }
http { access_log off; keepalive_requests 100000000; keepalive_timeout 600s;
upstream up { server %s; keepalive 1024; keepalive_requests 100000000; }
`, filepath.Join(dir, "nginx.pid"), up)
	for i := range hosts {
		fmt.Fprintf(&b, `server { listen 127.0.0.1:%[1]d; server_name h%[2]d.example.com;
location /api { proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host;
proxy_set_header X-Request-Id $request_id; proxy_set_header X-Forwarded-Proto http; proxy_set_header x-bench %[2]d; proxy_hide_header x-upstream; }
location / { return 404; } }
`, ports[0], i)
	}
	return []string{b.String() + "}\n"}
}

// haproxyHTTP is HAProxy doing the same.
func haproxyHTTP(ports []int, up, _ string) []string {
	var b strings.Builder
	fmt.Fprintf(&b, `global
  nbthread 1
  maxconn 4000
defaults
  mode http
  timeout connect 5s
  timeout client 600s
  timeout server 600s
frontend in
  bind 127.0.0.1:%d
  unique-id-format %%ci:%%cp_%%Ts_%%rt
  unique-id-header x-request-id
`, ports[0])
	for i := range hosts {
		fmt.Fprintf(&b, "  acl h%[1]d hdr(host) h%[1]d.example.com\n", i)
	}
	for i := range hosts {
		fmt.Fprintf(&b, "  use_backend b%[1]d if h%[1]d { path_beg /api }\n", i)
	}
	for i := range hosts {
		fmt.Fprintf(&b, "backend b%[1]d\n  http-reuse always\n  http-request set-header x-bench %[1]d\n  http-request set-header x-forwarded-proto http\n  http-response del-header x-upstream\n  server up %[2]s\n", i, up)
	}
	return []string{b.String()}
}
