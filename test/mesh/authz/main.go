// Authz is a program for the end-to-end tests: a service that authorizes requests
// over HTTP (port 8000) and gRPC (port 9000), and publishes the keys in KEYS.
//
// A request passes when its header x-ext-authz says "allow".
package main

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"os"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
)

type server struct {
	authv3.UnimplementedAuthorizationServer
}

func (server) Check(_ context.Context, r *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	h := r.GetAttributes().GetRequest().GetHttp()
	if h.GetHeaders()["x-ext-authz"] != "allow" {
		return &authv3.CheckResponse{
			Status: &statuspb.Status{Code: int32(codes.PermissionDenied)},
			HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{
				Status: &typev3.HttpStatus{Code: typev3.StatusCode_Forbidden}, Body: "refused over gRPC",
			}},
		}, nil
	}
	return &authv3.CheckResponse{
		Status: &statuspb.Status{Code: int32(codes.OK)},
		HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{Headers: []*corev3.HeaderValueOption{
			{Header: &corev3.HeaderValue{Key: "x-checked", Value: "grpc"}},
		}}},
	}, nil
}

func check(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("X-Ext-Authz") != "allow" {
		w.Header().Set("X-Why", "because")
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, "refused over HTTP at "+r.URL.Path)
		return
	}
	w.Header().Set("X-Checked", "http")
}

func main() {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, os.Getenv("KEYS")) })
	mux.HandleFunc("/check/", check)
	l, err := net.Listen("tcp", ":9000")
	if err != nil {
		log.Fatal(err)
	}
	s := grpc.NewServer()
	authv3.RegisterAuthorizationServer(s, server{})
	go func() { log.Fatal(s.Serve(l)) }()
	log.Fatal(http.ListenAndServe(":8000", mux))
}
