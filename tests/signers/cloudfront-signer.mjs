// CloudFront's signed URLs and cookies by the package @aws-sdk/cloudfront-signer: an order has its options, and whether cookies
// are wanted.

import { getSignedCookies, getSignedUrl } from '@aws-sdk/cloudfront-signer';

import { answer } from './orders.mjs';

await answer(({ options, cookies }) => (cookies ? getSignedCookies(options) : getSignedUrl(options)));
