package member

import (
	"fmt"
	"io"
	"strings"
)

// Unit writes a systemd unit that takes part with the membership in a folder: exe is this
// program, arguments are flags of `weft join`, and service a command, if there is one.
func Unit(w io.Writer, exe, dir string, arguments, service []string) error {
	words := append([]string{exe, "join", "--state-dir", dir}, arguments...)
	if len(service) > 0 {
		words = append(append(words, "--"), service...)
	}
	for i, word := range words {
		words[i] = quoted(word)
	}
	_, err := fmt.Fprintf(w, `[Unit]
Description=Weft: this machine's place in the service mesh
Wants=network-online.target
After=network-online.target

[Service]
ExecStart=%s
Restart=always
RestartSec=1
# The proxy drains, and then the service ends.
KillMode=mixed
TimeoutStopSec=40

[Install]
WantedBy=multi-user.target
`, strings.Join(words, " "))
	return err
}

// quoted is a word as systemd.service(5) reads it.
func quoted(word string) string {
	word = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "%", "%%", "$", "$$").Replace(word)
	if strings.ContainsAny(word, " \t;'\"") {
		return `"` + word + `"`
	}
	return word
}
