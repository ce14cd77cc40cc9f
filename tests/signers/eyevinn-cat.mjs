// Common Access Tokens by the package @eyevinn/cat: an order has the claims by name, the key in hexadecimal and its `kid`.

import { CAT } from '@eyevinn/cat';

import { answer } from './orders.mjs';

await answer(({ claims, key, kid }) => {
  const signer = new CAT({ keys: { [kid]: Buffer.from(key, 'hex') }, expectCwtTag: true });
  return signer.generateFromJson(claims, { type: 'mac', alg: 'HS256', kid, generateCwtId: true });
});
