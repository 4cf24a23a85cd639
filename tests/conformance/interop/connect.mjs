// Connect's own client for Node, against our server: every protocol, codec, HTTP version and compression it has.
// node connect.mjs FOLDER-OF-NODE-MODULES DESCRIPTORS CREDENTIAL URL NAME: JSON lines, {"way", "what", "ok", "found"}.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [, , modules, descriptors, folder, baseUrl, name] = process.argv;
const require = createRequire(`${modules}/`);
const load = (module) => import(pathToFileURL(require.resolve(module)));
const { createFileRegistry, fromBinary } = await load("@bufbuild/protobuf");
const { FileDescriptorSetSchema } = await load("@bufbuild/protobuf/wkt");
const { Code, createClient } = await load("@connectrpc/connect");
const { compressionGzip, createConnectTransport, createGrpcTransport, createGrpcWebTransport } = await load("@connectrpc/connect-node");

const contracts = createFileRegistry(fromBinary(FileDescriptorSetSchema, readFileSync(descriptors)));
const service = (full) => contracts.getService(full);
const read = (file) => readFileSync(`${folder}/${file}`);
const nodeOptions = { ca: read("ca.crt"), cert: read("tls.crt"), key: read("tls.key") };

const ways = [];
for (const httpVersion of ["1.1", "2"]) {
  for (const useBinaryFormat of [true, false]) {
    for (const gzip of [false, true]) {
      const compression = gzip ? { sendCompression: compressionGzip, compressMinBytes: 1 } : { acceptCompression: [] };
      const options = { baseUrl, nodeOptions, httpVersion, useBinaryFormat, ...compression };
      const words = `HTTP/${httpVersion} ${useBinaryFormat ? "proto" : "json"} ${gzip ? "gzip" : "identity"}`;
      ways.push([`connect ${words}`, createConnectTransport({ ...options, useHttpGet: gzip })]);
      ways.push([`grpc-web ${words}`, createGrpcWebTransport(options)]);
      if (httpVersion === "2") ways.push([`grpc ${words}`, createGrpcTransport(options)]);
    }
  }
}

const code = async (call) => {
  try {
    await call();
    return "ok";
  } catch (error) {
    return Code[error.code] ?? String(error);
  }
};
const all = async (stream) => {
  const found = [];
  for await (const message of stream) found.push(message);
  return found;
};
async function* say(count) {
  for (let number = 0; number < count; number++) yield { greeting: `No ${number},` };
}

for (const [way, transport] of ways) {
  const greeter = createClient(service("handclasp.greeter.v1.GreeterService"), transport);
  const identity = createClient(service("handclasp.identity.v1.IdentityService"), transport);
  const health = createClient(service("grpc.health.v1.Health"), transport);
  const tell = (what, found, wanted) =>
    console.log(JSON.stringify({ way, what, ok: wanted.includes(found), found: String(found) }));

  tell("unary", (await greeter.sayHello({})).message, [`Hello ${name}!`]);
  tell("unary, again", (await greeter.sayHello({ greeting: "x".repeat(100) })).message, [`${"x".repeat(100)} ${name}!`]);
  tell("identity", (await identity.whoAmI({})).name, [name]);
  tell("a stream", (await all(greeter.greet({ times: 500 }))).filter((m) => m.message === `Hello ${name}!`).length, [500]);
  tell("an empty deadline", await code(() => all(health.watch({}, { timeoutMs: 300 }))), ["DeadlineExceeded"]);
  const leaving = new AbortController();
  setTimeout(() => leaving.abort(), 100);
  tell("leaving", await code(() => all(health.watch({}, { signal: leaving.signal }))), ["Canceled"]);
  tell("an error", await code(() => greeter.sayHello({ greeting: "a\nb" })), ["InvalidArgument"]);
  tell("an error of a stream", await code(() => all(greeter.greet({ times: 1e6 }))), ["InvalidArgument"]);
  tell("nothing there", await code(() => health.check({ service: "x" })), ["NotFound"]);
  tell("too large", await code(() => greeter.sayHello({ greeting: "x".repeat(5e6) })), ["ResourceExhausted"]);
  if (way.includes("HTTP/2")) {
    const said = (await all(greeter.converse(say(5)))).map((message) => message.message).join();
    tell("both ways", said, [[0, 1, 2, 3, 4].map((number) => `No ${number}, ${name}!`).join()]);
  } else {
    // Its own client refuses, or our server does: nothing is answered.
    tell("both ways", await code(() => all(greeter.converse(say(5)))), ["Unimplemented", "Internal", "Unknown"]);
  }
}
process.exit(0);
