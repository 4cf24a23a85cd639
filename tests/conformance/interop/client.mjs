// A client of Node: `client.mjs FOLDER PORT`. It prints the protocol and the body, over HTTP/1.1 and HTTP/2.
import { readFileSync } from 'node:fs'
import https from 'node:https'
import http2 from 'node:http2'

const [folder, port, nocert] = process.argv.slice(2)
const tls = { ca: readFileSync(`${folder}/ca.crt`) }
if (!nocert) {
  tls.cert = readFileSync(`${folder}/tls.crt`)
  tls.key = readFileSync(`${folder}/tls.key`)
}
const url = `https://localhost:${port}`
const fail = (error) => {
  console.error(error.message)
  process.exit(1)
}

https.get(url, tls, (reply) => {
  reply.setEncoding('utf8').on('data', (body) => {
    console.log(`HTTP/${reply.httpVersion} ${body}`)
    const session = http2.connect(url, tls).on('error', fail)
    const request = session.request({ ':path': '/' })
    request.setEncoding('utf8').on('data', (more) => console.log(`HTTP/2 ${more}`)).on('end', () => session.close())
    request.end()
  })
}).on('error', fail)
