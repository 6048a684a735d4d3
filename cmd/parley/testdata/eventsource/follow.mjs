// Gives the follower of the documentation, which is put before this, what it has in a browser: the page's own server, and
// fresh tokens. It prints what the follower shows.
import {execFileSync} from 'node:child_process'
import {EventSource as Source} from 'eventsource'

const [server, parley, secret] = process.argv.slice(2)
const fetchAbsolute = globalThis.fetch
globalThis.fetch = (url, options) => fetchAbsolute(new URL(url, server), options)
globalThis.EventSource = class extends Source {
  constructor(path) { super(new URL(path, server)) }
}
const print = (...words) => process.stdout.write(words.join(' ') + '\n')
const token = () => execFileSync(parley, ['token', '--jwt-secret-file', secret, '--user', 'u1', '--ttl', '2s']).toString().trim()
follow('talk', token, (e) => print(e.event, e.message?.text ?? '')).then(() => print('returned'))
