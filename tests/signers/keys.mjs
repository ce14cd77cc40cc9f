// New key pairs by OpenSSL: each order is the arguments of generateKeyPair, the answer both keys in PEM.

import { generateKeyPairSync } from 'node:crypto';

import { answer } from './orders.mjs';

await answer(({ type, options }) =>
  generateKeyPairSync(type, {
    ...options,
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  }),
);
