// Web is the shop's front: a page for people and JSON for programs. It calls
// catalog by gRPC, reviews and orders by HTTP.
package main

import (
	"context"
	"fmt"
	"html/template"
	"io"
	"log"
	"net/http"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"github.com/weftmesh/weft/examples/bookstore/catalog/catalogpb"
	"github.com/weftmesh/weft/examples/bookstore/shop"
)

// Book is one book as the page and GET /api/books show it.
type Book struct {
	ID      string  `json:"id"`
	Title   string  `json:"title"`
	Author  string  `json:"author"`
	Price   float64 `json:"price"`
	Reviews struct {
		Version string `json:"version"`
		Stars   int    `json:"stars"`
		Colour  string `json:"colour"`
		Ratings string `json:"ratings"`
	} `json:"reviews"`
	Error string `json:"error,omitempty"`
}

// Page is the answer of GET /api/books.
type Page struct {
	Catalog string `json:"catalog"` // the version that answered
	Books   []Book `json:"books"`
}

type server struct {
	catalog         catalogpb.CatalogClient
	reviews, orders string
}

func main() {
	// While everything starts, a proxy that says "not yet" is asked again soon.
	soon := grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, MaxDelay: time.Second}}
	conn, err := grpc.NewClient("dns:///"+shop.Env("CATALOG", "catalog:9090"),
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithConnectParams(soon))
	if err != nil {
		log.Fatalf("web: %v", err)
	}
	defer conn.Close()
	s := &server{
		catalog: catalogpb.NewCatalogClient(conn),
		reviews: shop.Env("REVIEWS", "http://reviews:9080"),
		orders:  shop.Env("ORDERS", "http://orders:9080"),
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.page)
	mux.HandleFunc("GET /api/books", s.books)
	mux.HandleFunc("GET /api/reviews/{id}", s.relay(func(r *http.Request) string { return s.reviews + "/reviews/" + r.PathValue("id") }))
	mux.HandleFunc("GET /api/orders", s.relay(func(*http.Request) string { return s.orders + "/orders" }))
	mux.HandleFunc("GET /api/quote/{id}", s.quote)
	mux.HandleFunc("GET /api/fetch", s.relay(func(r *http.Request) string { return r.URL.Query().Get("url") }))
	shop.Serve("web", "8080", mux)
}

// outgoing carries the trace headers of a request into gRPC calls.
func outgoing(r *http.Request) context.Context {
	ctx := r.Context()
	for name, values := range shop.TraceHeaders(r.Header) {
		for _, v := range values {
			ctx = metadata.AppendToOutgoingContext(ctx, strings.ToLower(name), v) //nolint:fatcontext // a handful of headers
		}
	}
	return ctx
}

func (s *server) load(r *http.Request) (Page, error) {
	ctx, cancel := context.WithTimeout(outgoing(r), 10*time.Second)
	defer cancel()
	list, err := s.catalog.List(ctx, &catalogpb.ListRequest{})
	if err != nil {
		return Page{}, fmt.Errorf("catalog: %w", err)
	}
	page := Page{Catalog: list.GetServedBy()}
	for _, b := range list.GetBooks() {
		book := Book{ID: b.GetId(), Title: b.GetTitle(), Author: b.GetAuthor(), Price: float64(b.GetPrice()) / 100}
		if err := shop.GetJSON(ctx, r.Header, s.reviews+"/reviews/"+b.GetId(), &book.Reviews); err != nil {
			book.Error = err.Error()
		}
		page.Books = append(page.Books, book)
	}
	return page, nil
}

func (s *server) books(w http.ResponseWriter, r *http.Request) {
	page, err := s.load(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	shop.JSON(w, http.StatusOK, page)
}

// quote asks for three prices over one bidirectional stream.
func (s *server) quote(w http.ResponseWriter, r *http.Request) {
	stream, err := s.catalog.Quote(outgoing(r))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	var totals []int64
	for n := int32(1); n <= 3; n++ {
		if err := stream.Send(&catalogpb.QuoteRequest{Id: r.PathValue("id"), Count: n}); err != nil {
			break // Recv says why
		}
		p, err := stream.Recv()
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		totals = append(totals, p.GetTotal())
	}
	_ = stream.CloseSend()
	if _, err := stream.Recv(); err != io.EOF {
		http.Error(w, fmt.Sprintf("the stream did not end well: %v", err), http.StatusBadGateway)
		return
	}
	shop.JSON(w, http.StatusOK, totals)
}

// relay fetches a URL and passes the answer on as it is.
func (s *server) relay(to func(*http.Request) string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		req, err := http.NewRequestWithContext(r.Context(), http.MethodGet, to(r), nil)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		req.Header = shop.TraceHeaders(r.Header)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer resp.Body.Close()
		for _, h := range []string{"Content-Type", "X-Served-By"} {
			if v := resp.Header.Get(h); v != "" {
				w.Header().Set(h, v)
			}
		}
		w.WriteHeader(resp.StatusCode)
		_, _ = io.Copy(w, resp.Body)
	}
}

var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"stars": func(n int) string { return strings.Repeat("★", n) + strings.Repeat("☆", 5-min(n, 5)) },
}).Parse(`<!doctype html><html lang="en"><meta charset="utf-8"><title>Bookstore</title>
<style>body{font:16px/1.5 system-ui;margin:3rem auto;max-width:44rem;color:#222}h1{font-weight:600}
article{border-top:1px solid #ddd;padding:.8rem 0;display:flex;justify-content:space-between}
small{color:#777}.black{color:#111}.red{color:#c22}.err{color:#c22}</style>
<h1>Bookstore</h1><p><small>catalog {{.Catalog}}</small></p>
{{range .Books}}<article><div><b>{{.Title}}</b><br><small>{{.Author}}</small></div>
<div style="text-align:right">{{printf "%.2f" .Price}} €<br>
{{if .Error}}<span class="err">reviews unavailable</span>{{else if .Reviews.Colour}}<span class="{{.Reviews.Colour}}">{{stars .Reviews.Stars}}</span>{{else}}<small>no stars</small>{{end}}
<small>reviews {{.Reviews.Version}}</small></div></article>{{end}}</html>`))

func (s *server) page(w http.ResponseWriter, r *http.Request) {
	p, err := s.load(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_ = page.Execute(w, p)
}
