// A server of Node for both HTTP versions: `server.mjs FOLDER` prints its port.
import { readFileSync } from 'node:fs'
import http2 from 'node:http2'

const folder = process.argv[2]
const read = (name) => readFileSync(`${folder}/${name}`)
const server = http2.createSecureServer(
  { ca: read('ca.crt'), cert: read('tls.crt'), key: read('tls.key'), requestCert: true, rejectUnauthorized: true, allowHTTP1: true },
  (request, response) => {
    const socket = request.httpVersionMajor === 2 ? request.stream.session.socket : request.socket
    const email = socket.getPeerCertificate().subjectaltname.match(/email:([^,]*)/)[1]
    response.end(`Hello ${email}!`)
  },
)
server.listen(0, '127.0.0.1', () => console.log(server.address().port))
