// Reviews serves what readers say: v1 without stars, v2 with black ones and v3
// with red ones, which it gets from ratings.
package main

import (
	"net/http"

	"github.com/weftmesh/weft/examples/bookstore/shop"
)

// Review is one reader's.
type Review struct {
	Reader string `json:"reader"`
	Text   string `json:"text"`
}

// Answer is the JSON of GET /reviews/{id}.
type Answer struct {
	ID       string   `json:"id"`
	Version  string   `json:"version"`
	Reviews  []Review `json:"reviews"`
	Stars    int      `json:"stars,omitempty"`
	Colour   string   `json:"colour,omitempty"`
	Ratings  string   `json:"ratings,omitempty"` // the version of ratings that answered
	StarsErr string   `json:"starsError,omitempty"`
}

func main() {
	version := shop.Env("VERSION", "v1")
	ratings := shop.Env("RATINGS", "http://ratings:9080")
	colour := map[string]string{"v2": "black", "v3": "red"}[version]
	mux := http.NewServeMux()
	mux.HandleFunc("GET /reviews/{id}", func(w http.ResponseWriter, r *http.Request) {
		a := Answer{ID: r.PathValue("id"), Version: version, Colour: colour, Reviews: []Review{
			{"Ada", "I could not put it down."}, {"Charles", "It computes."},
		}}
		if colour != "" {
			var got struct {
				Stars   int    `json:"stars"`
				Version string `json:"version"`
			}
			if err := shop.GetJSON(r.Context(), r.Header, ratings+"/ratings/"+a.ID, &got); err != nil {
				a.StarsErr = err.Error()
			}
			a.Stars, a.Ratings = got.Stars, got.Version
		}
		w.Header().Set("X-Served-By", "reviews-"+version)
		shop.JSON(w, http.StatusOK, a)
	})
	shop.Serve("reviews", "9080", mux)
}
