// Listens to the stream that is named, as a browser does, and prints each message: its id and its text. What ends the
// connection is the client's own business: it comes back by itself.
import {EventSource} from 'eventsource'

const source = new EventSource(process.argv[2])
const print = (...words) => process.stdout.write(words.join(' ') + '\n')
source.addEventListener('ready', () => print('ready'))
source.addEventListener('reset', () => print('reset'))
source.addEventListener('message', (event) => print('message', event.lastEventId, JSON.parse(event.data).message.text))
