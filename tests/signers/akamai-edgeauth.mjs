// EdgeAuth tokens by the package akamai-edgeauth: an order has its options, and `acl` or `url`.

import EdgeAuth from 'akamai-edgeauth';

import { answer } from './orders.mjs';

await answer(({ options, acl, url }) => {
  const signer = new EdgeAuth(options);
  return url ? signer.generateURLToken(url) : signer.generateACLToken(acl);
});
