// Reads a JSON list of orders from standard input and writes the list of what `sign` makes of each.

import { text } from 'node:stream/consumers';

export async function answer(sign) {
  const tokens = [];
  for (const order of JSON.parse(await text(process.stdin))) {
    tokens.push(await sign(order));
  }
  process.stdout.write(JSON.stringify(tokens));
}
