// Outside is a program that is not part of the mesh: run it on the machine
// itself to try external.yaml.
package main

import (
	"net/http"

	"github.com/weftmesh/weft/examples/bookstore/shop"
)

func main() {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		shop.JSON(w, http.StatusOK, map[string]string{"publisher": "Outside & Sons", "host": r.Host})
	})
	shop.Serve("outside", "9999", mux)
}
