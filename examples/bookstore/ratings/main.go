// Ratings serves the stars of a book. They are kept in the stock database,
// which speaks the Redis protocol; without it everything has three stars.
package main

import (
	"net/http"
	"strconv"

	"github.com/weftmesh/weft/examples/bookstore/shop"
	"github.com/weftmesh/weft/examples/bookstore/stock/resp"
)

func main() {
	version := shop.Env("VERSION", "v1")
	db := resp.NewClient(shop.Env("STOCK", "stock:6379"))
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ratings/{id}", func(w http.ResponseWriter, r *http.Request) {
		stars, from := 3, "default"
		v, err := db.Do(r.Context(), "GET", "stars:"+r.PathValue("id"))
		if n, bad := strconv.Atoi(v); err == nil && bad == nil {
			stars, from = n, "stock"
		}
		shop.JSON(w, http.StatusOK, map[string]any{"stars": stars, "version": version, "from": from})
	})
	mux.HandleFunc("PUT /ratings/{id}/{stars}", func(w http.ResponseWriter, r *http.Request) {
		if _, err := strconv.Atoi(r.PathValue("stars")); err != nil {
			http.Error(w, "stars must be a number", http.StatusBadRequest)
			return
		}
		if _, err := db.Do(r.Context(), "SET", "stars:"+r.PathValue("id"), r.PathValue("stars")); err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	shop.Serve("ratings", "9080", mux)
}
