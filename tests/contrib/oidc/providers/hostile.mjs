// An OpenID provider that lies on command: npm's oauth2-mock-server, which checks nothing.
import crypto from 'node:crypto';

import { importPackage, mergePatch, options, serve } from './front.mjs';

const { OAuth2Issuer, OAuth2Service } = await importPackage('oauth2-mock-server', 'dist/index.mjs');

let issuer;
let service;
let lies = [];

async function begin() {
  issuer = new OAuth2Issuer();
  issuer.url = options.issuer;
  await issuer.keys.generate('RS256', { kid: 'first' });
  service = new OAuth2Service(issuer);
  service.on('beforeTokenSigning', (token, request) => {
    for (const { about, header, payload } of lies) {
      if (about !== (isIdToken(token, request) ? 'id_token' : 'access_token')) continue;
      // The library reads the objects that it has passed on, so they are changed in place.
      replaceMembers(token.header, mergePatch(token.header, header ?? {}));
      replaceMembers(token.payload, mergePatch(token.payload, payload ?? {}));
    }
  });
  service.on('beforeResponse', (response) => {
    for (const { about, forge } of lies) {
      if (forge && response.body[about]) response.body[about] = FORGERIES[forge](response.body[about]);
    }
  });
  service.on('beforeUserinfo', (response) => { tell('userinfo', response); });
  service.on('beforeIntrospect', (response) => { tell('introspection', response); });
  service.on('beforeAuthorizeRedirect', (redirect) => {
    for (const { about, parameters } of lies) {
      if (about !== 'callback') continue;
      for (const [name, value] of Object.entries(parameters)) {
        if (value === null) redirect.url.searchParams.delete(name);
        else redirect.url.searchParams.set(name, value);
      }
    }
  });
}

/** The access token has a scope, also where it is undefined; the ID token has none. */
function isIdToken(token, request) {
  return !('scope' in token.payload) && request?.body?.grant_type !== 'client_credentials';
}

function replaceMembers(target, source) {
  for (const key of Object.keys(target)) delete target[key];
  Object.assign(target, source);
}

function tell(subject, response) {
  for (const { about, payload } of lies) if (about === subject) response.body = mergePatch(response.body, payload);
}

const encode = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
const decode = (part) => JSON.parse(Buffer.from(part, 'base64url'));

const FORGERIES = {
  /** Changes one bit of the signature. */
  signature: (token) => {
    const [header, payload, signature] = token.split('.');
    const bytes = Buffer.from(signature, 'base64url');
    bytes[0] ^= 1;
    return [header, payload, bytes.toString('base64url')].join('.');
  },
  /** Says that there is no signature. */
  none: (token) => {
    const [header, payload] = token.split('.');
    return `${encode({ ...decode(header), alg: 'none' })}.${payload}.`;
  },
  /** Signs by a key that isn't published, under the published key's id. */
  stranger: (token) => {
    const [header, payload] = token.split('.');
    const { privateKey } = crypto.generateKeyPairSync('rsa', { modulusLength: 2048 });
    const signature = crypto.sign('sha256', Buffer.from(`${header}.${payload}`), privateKey);
    return `${header}.${payload}.${signature.toString('base64url')}`;
  },
  /** Takes the published key for the secret of an HMAC. */
  hmac: (token) => {
    const [header, payload] = token.split('.');
    const [jwk] = issuer.keys.toJSON();
    const secret = crypto.createPublicKey({ key: jwk, format: 'jwk' }).export({ type: 'spki', format: 'pem' });
    const input = `${encode({ ...decode(header), alg: 'HS256' })}.${payload}`;
    return `${input}.${crypto.createHmac('sha256', secret).update(input).digest('base64url')}`;
  },
  /** Sends something else than a token. */
  garbage: () => 'this.is.garbage',
};

await begin();

serve((request, response) => new Promise((resolve, reject) => {
  response.on('close', resolve);
  try {
    service.requestHandler(request, response);
  } catch (error) { reject(error); }
}), {
  reset: async () => { lies = []; await begin(); },
  lie: (lie) => { lies.push(lie); },
  tell_the_truth: () => { lies = []; },
  add_key: async ({ algorithm, kid }) => (await issuer.keys.generate(algorithm, { kid })).kid,
  sign: ({ header, payload, kid }) => issuer.buildToken({
    kid,
    scopesOrTransform: (madeHeader, madePayload) => {
      replaceMembers(madeHeader, mergePatch(madeHeader, header));
      replaceMembers(madePayload, mergePatch(madePayload, payload));
    },
  }),
});
