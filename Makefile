# Generated code is committed; this needs protoc and protoc-gen-go in PATH:
#   pip install grpcio-tools    (protoc is then `python3 -m grpc_tools.protoc`)
#   go build -o ~/bin/protoc-gen-go google.golang.org/protobuf/cmd/protoc-gen-go
PROTOC ?= python3 -m grpc_tools.protoc

.PHONY: generate
generate:
	$(PROTOC) -I wire --go_out=. --go_opt=module=github.com/weftmesh/weft weft.proto
