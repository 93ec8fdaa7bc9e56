// Catalog serves the books over gRPC: a list, one book, and prices over a
// stream that both sides keep open.
package main

import (
	"context"
	"errors"
	"io"
	"log"
	"os"
	"os/signal"
	"syscall"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"

	"github.com/weftmesh/weft/examples/bookstore/catalog/catalogpb"
	"github.com/weftmesh/weft/examples/bookstore/shop"
)

var books = []*catalogpb.Book{
	{Id: "loom", Title: "The Loom and the Ledger", Author: "A. Weaver", Year: 1843, Price: 1990},
	{Id: "warp", Title: "Warp Speed", Author: "Z. Cochrane", Year: 2063, Price: 1290},
	{Id: "weft", Title: "Threads of Execution", Author: "G. Routine", Year: 2009, Price: 3450},
	{Id: "mesh", Title: "Caught in the Mesh", Author: "S. Idecar", Year: 2017, Price: 990},
}

type catalog struct {
	catalogpb.UnimplementedCatalogServer
	version string
}

// price is a tenth lower in version v2.
func (c *catalog) price(b *catalogpb.Book) int64 {
	if c.version == "v2" {
		return b.Price * 9 / 10
	}
	return b.Price
}

func (c *catalog) find(id string) (*catalogpb.Book, error) {
	for _, b := range books {
		if b.Id == id {
			return &catalogpb.Book{Id: b.Id, Title: b.Title, Author: b.Author, Year: b.Year, Price: c.price(b)}, nil
		}
	}
	return nil, status.Errorf(codes.NotFound, "no book %q", id)
}

func (c *catalog) List(context.Context, *catalogpb.ListRequest) (*catalogpb.ListResponse, error) {
	out := &catalogpb.ListResponse{ServedBy: c.version}
	for _, b := range books {
		book, err := c.find(b.Id)
		if err != nil {
			return nil, err
		}
		out.Books = append(out.Books, book)
	}
	return out, nil
}

func (c *catalog) Get(_ context.Context, r *catalogpb.GetRequest) (*catalogpb.Book, error) {
	return c.find(r.GetId())
}

func (c *catalog) Quote(s grpc.BidiStreamingServer[catalogpb.QuoteRequest, catalogpb.Price]) error {
	for {
		r, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		b, err := c.find(r.GetId())
		if err != nil {
			return err
		}
		if err := s.Send(&catalogpb.Price{Id: b.Id, Total: b.Price * int64(r.GetCount()), ServedBy: c.version}); err != nil {
			return err
		}
	}
}

func main() {
	l := shop.Listen("catalog", "9090")
	srv := grpc.NewServer()
	catalogpb.RegisterCatalogServer(srv, &catalog{version: shop.Env("VERSION", "v1")})
	healthpb.RegisterHealthServer(srv, health.NewServer())
	reflection.Register(srv)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	go func() {
		<-ctx.Done()
		srv.GracefulStop()
	}()
	if err := srv.Serve(l); err != nil {
		log.Fatalf("catalog: %v", err)
	}
}
