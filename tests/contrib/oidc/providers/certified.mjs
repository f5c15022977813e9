// A certified OpenID provider for tests: npm's oidc-provider, without a person at a browser.
import crypto from 'node:crypto';

import { importPackage, options, serve } from './front.mjs';

const { default: Provider } = await importPackage('oidc-provider', 'lib/index.js');

const KINDS = {
  RS256: ['rsa', { modulusLength: 2048 }],
  ES256: ['ec', { namedCurve: 'P-256' }],
  EdDSA: ['ed25519', {}],
};
const TTL = { AccessToken: 3600, ClientCredentials: 3600, IdToken: 3600, RefreshToken: 86400, Session: 86400, Grant: 86400, Interaction: 600 };
const SCOPES = ['openid', 'offline_access', 'profile', 'email', 'groups'];

function makeKeys() {
  return Object.entries(KINDS).map(([alg, [type, details]]) => {
    const { privateKey } = crypto.generateKeyPairSync(type, details);
    return { ...privateKey.export({ format: 'jwk' }), alg, use: 'sig', kid: crypto.randomUUID() };
  });
}

const firstKeys = makeKeys();
let keys = firstKeys;
let ttl = { ...TTL };
let users = {};
let logouts = [];
let deliver = true;
let defaultResource;
const storage = new Map();

/** Keeps everything in memory, also when the provider is built anew. */
class Adapter {
  constructor(model) { this.model = model; }

  key(id) { return `${this.model}:${id}`; }

  async upsert(id, payload) { storage.set(this.key(id), payload); }

  async find(id) { return storage.get(this.key(id)); }

  async findByUid(uid) { return this.#findBy('uid', uid); }

  async findByUserCode(userCode) { return this.#findBy('userCode', userCode); }

  async consume(id) { storage.get(this.key(id)).consumed = Math.floor(Date.now() / 1000); }

  async destroy(id) { storage.delete(this.key(id)); }

  async revokeByGrantId(grantId) {
    for (const [key, payload] of storage) if (payload.grantId === grantId) storage.delete(key);
  }

  #findBy(field, value) {
    return [...storage].find(([key, payload]) => key.startsWith(`${this.model}:`) && payload[field] === value)?.[1];
  }
}

function page(title, body) {
  return `<!doctype html><html lang="en"><meta charset="utf-8"><title>${title}</title><h1>${title}</h1>${body}</html>`;
}

function build() {
  const provider = new Provider(options.issuer, {
    adapter: Adapter,
    jwks: { keys },
    cookies: { keys: ['a key of tests'] },
    scopes: SCOPES,
    claims: {
      openid: ['sub'],
      profile: ['name', 'preferred_username'],
      email: ['email', 'email_verified'],
      groups: ['groups'],
    },
    clientBasedCORS: () => true,
    pkce: { required: () => true },
    rotateRefreshToken: true,
    // Without prompt=consent the provider drops offline_access, and most clients send no prompt.
    issueRefreshToken: async (_ctx, client) => client.grantTypeAllowed('refresh_token'),
    // Clocks of tests aren't the provider's clock.
    clockTolerance: 5,
    clientDefaults: { id_token_signed_response_alg: 'RS256' },
    enabledJWA: { idTokenSigningAlgValues: ['RS256', 'ES256', 'EdDSA'] },
    ttl: Object.fromEntries(Object.keys(TTL).map((model) => [model, () => ttl[model]])),
    findAccount: async (_ctx, id) => ({ accountId: id, claims: async () => claimsOf(id) }),
    interactions: { url: (_ctx, interaction) => `/_interaction/${interaction.uid}` },
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      introspection: { enabled: true },
      revocation: { enabled: true },
      backchannelLogout: { enabled: true },
      rpInitiatedLogout: {
        enabled: true,
        logoutSource: async (ctx, form) => {
          ctx.body = page('Log out', `${form}<button form="op.logoutForm" name="logout" value="yes">Log out</button>`);
        },
        postLogoutSuccessSource: async (ctx) => { ctx.body = page('Logged out', ''); },
      },
      resourceIndicators: {
        enabled: true,
        defaultResource: async (_ctx, _client, oneOf) => oneOf?.[0] ?? defaultResource,
        useGrantedResource: async () => defaultResource !== undefined,
        getResourceServerInfo: async (ctx, resource) => ({
          scope: 'read write admin',
          audience: resource,
          accessTokenTTL: ttl.AccessToken,
          accessTokenFormat: ctx.get('x-test-format') || 'jwt',
          jwt: { sign: { alg: ctx.get('x-test-algorithm') || 'RS256' } },
        }),
      },
    },
    renderError: async (ctx, out) => { ctx.type = 'json'; ctx.body = out; },
    fetch: deliverLogout,
  });
  provider.on('server_error', (_ctx, error) => console.error(error));
  return provider;
}

function claimsOf(id) {
  const known = { name: id, preferred_username: id, email: `${id}@example.com`, email_verified: true, groups: [] };
  return { ...known, ...users[id], sub: id };
}

/** Send a logout token. The provider's own guard against requests to loopback is left out. */
async function deliverLogout(url, { dispatcher, ...request }) {
  logouts.push({ url: String(url), logout_token: new URLSearchParams(String(request.body)).get('logout_token') });
  return deliver ? globalThis.fetch(url, request) : new Response(null, { status: 200 });
}

let provider = build();

async function interact(request, response) {
  const details = await provider.interactionDetails(request, response);
  const { params, prompt, session } = details;
  const form = request.method === 'POST' ? await readForm(request) : {};
  if (form.deny) {
    return provider.interactionFinished(request, response, { error: 'access_denied' }, { mergeWithLastSubmission: false });
  }
  const user = prompt.name === 'login' ? form.user ?? params.login_hint : session.accountId;
  if (!user) return askWhoLogsIn(response);
  const grant = new provider.Grant({ accountId: user, clientId: params.client_id });
  grant.addOIDCScope(params.scope ?? 'openid');
  for (const resource of [params.resource ?? []].flat()) grant.addResourceScope(resource, params.scope);
  const result = { consent: { grantId: await grant.save() } };
  if (prompt.name === 'login') result.login = { accountId: user };
  return provider.interactionFinished(request, response, result, { mergeWithLastSubmission: true });
}

function askWhoLogsIn(response) {
  const names = [...new Set(['alice', 'bob', ...Object.keys(users)])];
  const buttons = names.map((name) => `<button name="user" value="${name}">${name}</button>`).join(' ');
  response.writeHead(200, { 'content-type': 'text/html' });
  response.end(page('Log in', `<form method="post">${buttons} <button name="deny" value="yes">Deny</button></form>`));
}

async function readForm(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return Object.fromEntries(new URLSearchParams(Buffer.concat(chunks).toString()));
}

/** The stored payloads of a model that belong to a user; of every user if none is named. */
function payloadsOf(model, user) {
  return [...storage]
    .filter(([key, payload]) => key.startsWith(`${model}:`) && (user == null || payload.accountId === user))
    .map(([, payload]) => payload);
}

async function endSession(payload) {
  for (const [clientId, { sid }] of Object.entries(payload.authorizations ?? {})) {
    const client = await provider.Client.find(clientId);
    if (client?.backchannelLogoutUri) await client.backchannelLogout(payload.accountId, sid);
  }
  storage.delete(`Session:${payload.jti}`);
}

const commands = {
  reset: () => {
    storage.clear();
    commands.clear_state();
    keys = firstKeys;
    provider = build();
  },
  clear_state: () => { ttl = { ...TTL }; users = {}; logouts = []; deliver = true; defaultResource = undefined; },
  add_client: ({ metadata }) => { storage.set(`Client:${metadata.client_id}`, metadata); },
  set_user: ({ user, claims }) => { users[user] = claims; },
  set_default_resource: ({ resource }) => { defaultResource = resource; },
  set_ttl: (seconds) => {
    // Tokens of users and of clients are one kind of thing to tests.
    if (seconds.AccessToken) ttl.ClientCredentials = seconds.AccessToken;
    Object.assign(ttl, seconds);
  },
  rotate_keys: ({ keep }) => {
    const made = makeKeys();
    keys = keep ? [...made, ...keys] : made;
    provider = build();
    return Object.fromEntries(made.map(({ alg, kid }) => [alg, kid]));
  },
  revoke_grants: async ({ user }) => {
    const found = payloadsOf('Grant', user);
    for (const { jti } of found) {
      storage.delete(`Grant:${jti}`);
      await new Adapter('Grant').revokeByGrantId(jti);
    }
    return found.length;
  },
  end_sessions: async ({ user }) => {
    const found = payloadsOf('Session', user).filter(({ accountId }) => accountId !== undefined);
    for (const payload of found) await endSession(payload);
    return found.length;
  },
  keep_logouts: () => { deliver = false; },
  logouts: () => logouts,
};

serve(async (request, response) => {
  if (request.url.startsWith('/_interaction/')) return interact(request, response);
  return provider.callback()(request, response);
}, commands);
