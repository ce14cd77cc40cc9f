// JSON Web Tokens by the package jose: an order has the header, the claims, and a private key in PEM or a secret. The claims
// that `encrypted` names are put into a JWE first, with the key `encryption` in base64url.

import { webcrypto } from 'node:crypto';

import { CompactEncrypt, SignJWT, base64url, importPKCS8 } from 'jose';

import { answer } from './orders.mjs';

// Node.js 18 has it under that name only.
globalThis.crypto ??= webcrypto;

const bytes = (text) => new TextEncoder().encode(text);

await answer(async ({ header, claims, pem, secret, encrypted = [], encryption }) => {
  const key = pem ? await importPKCS8(pem, header.alg) : bytes(secret);
  const sealed = { ...claims };
  for (const name of encrypted) {
    const jwe = new CompactEncrypt(bytes(claims[name])).setProtectedHeader({ alg: 'dir', enc: 'A128GCM' });
    sealed[name] = await jwe.encrypt(base64url.decode(encryption));
  }
  return new SignJWT(sealed).setProtectedHeader(header).sign(key);
});
