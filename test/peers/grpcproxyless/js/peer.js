// Peer in JavaScript: the same program as ../peer, as far as the test of grpc-js needs
// it. Packages come from the folder WEFT_GRPC_JS.
'use strict';
const http = require('http');
const path = require('path');
const {createRequire} = require('module');
const load = createRequire(path.join(process.env.WEFT_GRPC_JS, 'package.json'));
const grpc = load('@grpc/grpc-js');
const xds = load('@grpc/grpc-js-xds');
const loader = load('@grpc/proto-loader');

xds.register();
const [, , control, listen] = process.argv;
const {TestService} = grpc.loadPackageDefinition(loader.loadSync(path.join(__dirname, 'peer.proto'))).grpc.testing;

// asker is who a call's certificate says that its client is.
function asker(call) {
  const cert = call.getAuthContext().sslPeerCertificate;
  const names = (cert && cert.subjectaltname || '').split(', ');
  return names.filter(n => n.startsWith('URI:')).map(n => n.slice('URI:'.length))[0] || '';
}

if (listen) {
  const server = new xds.XdsServer();
  server.addService(TestService.service, {
    UnaryCall: (call, done) => done(null, {hostname: process.env.POD_NAME, username: asker(call)}),
  });
  server.bindAsync(listen, new xds.XdsServerCredentials(grpc.ServerCredentials.createInsecure()), err => {
    if (err) {
      console.error(err);
      process.exit(1);
    }
    console.log('serving', listen);
  });
}

const clients = {};
function client(target) {
  clients[target] ??= new TestService(target, new xds.XdsChannelCredentials(grpc.credentials.createInsecure()));
  return clients[target];
}

// once makes one call.
function once(c, header, out) {
  return new Promise(resolve => {
    c.UnaryCall({}, header, {deadline: Date.now() + 5000, waitForReady: true}, (err, r) => {
      const [into, key] = err ? [out.errors, `${grpc.status[err.code]}: ${err.details}`] : [out.by, `${r.hostname} ${r.username}`];
      into[key] = (into[key] || 0) + 1;
      resolve();
    });
  });
}

const [host, port] = control.split(':');
http.createServer(async (req, res) => {
  const url = new URL(req.url, 'http://peer');
  const out = {by: {}, errors: {}};
  if (url.pathname === '/call') {
    const header = new grpc.Metadata();
    for (const h of url.searchParams.getAll('header')) {
      header.add(...h.split('='));
    }
    for (let i = Number(url.searchParams.get('n')); i > 0; i--) {
      await once(client(url.searchParams.get('target')), header, out);
    }
  }
  res.end(JSON.stringify(out));
}).listen(Number(port), host);
