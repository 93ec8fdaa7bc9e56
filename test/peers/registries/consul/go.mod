module github.com/weftmesh/weft/test/peers/registries/consul

go 1.26.0

require github.com/hashicorp/consul v1.14.11

require (
	github.com/hashicorp/consul/api v1.18.1
	github.com/hashicorp/consul/proto-public v0.2.1
	github.com/hashicorp/consul/sdk v0.13.1
)
