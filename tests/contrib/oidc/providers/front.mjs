// Serve a provider on loopback: counts requests, spoils answers on command, and takes the commands of the tests.
import fs from 'node:fs';
import http from 'node:http';
import https from 'node:https';

const CONTROL = '/_control';

/** The first argument of the program: where npm's packages are, the port, the issuer, the files of a certificate. */
export const options = JSON.parse(process.argv[2]);

/** Import a package from the folder that npm installed it into, which is elsewhere. */
export async function importPackage(name, entry) {
  return import(new URL(`file://${options.packages}/node_modules/${name}/${entry}`));
}

/** Change JSON by a merge patch (RFC 7396): null removes a member. */
export function mergePatch(target, patch) {
  if (patch === null || typeof patch !== 'object' || Array.isArray(patch)) return patch;
  const found = target !== null && typeof target === 'object' && !Array.isArray(target) ? { ...target } : {};
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete found[key];
    else found[key] = mergePatch(found[key], value);
  }
  return found;
}

/** Serve `handle(request, response)`; `commands` are functions by name, which take and return JSON. */
export function serve(handle, commands) {
  let faults = [];
  let counts = {};

  const all = {
    ready: () => true,
    counts: () => counts,
    forget_counts: () => { counts = {}; },
    add_fault: (fault) => { faults.push({ times: null, waiting: [], ...fault }); },
    release: () => {
      const released = faults.flatMap((fault) => fault.waiting.splice(0));
      faults = faults.filter((fault) => !fault.hold);
      released.forEach((proceed) => proceed());
      return released.length;
    },
    waiting: () => faults.reduce((sum, fault) => sum + fault.waiting.length, 0),
    clear_faults: () => { all.release(); faults = []; },
    ...commands,
    reset: async () => {
      all.clear_faults();
      counts = {};
      await commands.reset();
    },
  };

  async function answer(request, response) {
    const { pathname } = new URL(request.url, options.issuer);
    if (pathname === CONTROL) return obey(request, response, all);
    counts[pathname] = (counts[pathname] ?? 0) + 1;
    const fault = faults.find((each) => each.path === pathname && each.times !== 0);
    if (fault === undefined) return handle(request, response);
    if (fault.times !== null) fault.times -= 1;
    if (fault.delay) await new Promise((proceed) => { setTimeout(proceed, fault.delay * 1000); });
    if (fault.hold) await new Promise((proceed) => { fault.waiting.push(proceed); });
    if (fault.disconnect) return request.socket.destroy();
    if (fault.status) return spoil(response, fault);
    if (fault.patch !== null) patchAnswer(response, fault.patch);
    return handle(request, response);
  }

  const listener = (request, response) => {
    answer(request, response).catch((error) => {
      console.error(error);
      if (!response.headersSent) response.writeHead(500, { 'content-type': 'application/json' });
      response.end(JSON.stringify({ message: String(error?.message ?? error) }));
    });
  };
  const server = options.key
    ? https.createServer({ key: fs.readFileSync(options.key), cert: fs.readFileSync(options.cert) }, listener)
    : http.createServer(listener);
  server.listen(options.port, '127.0.0.1');
  process.on('SIGTERM', () => process.exit(0));
}

async function obey(request, response, commands) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const { command, ...given } = JSON.parse(Buffer.concat(chunks));
  if (!Object.hasOwn(commands, command)) throw new Error(`there is no command ${command}`);
  const result = await commands[command](given);
  response.writeHead(200, { 'content-type': 'application/json', connection: 'close' });
  response.end(JSON.stringify(result ?? null));
}

function spoil(response, { status, body = '', headers = {}, repeat = 1, trickle = 0 }) {
  response.writeHead(status, { 'content-type': 'application/json', ...headers });
  const bytes = body.repeat(repeat);
  if (!trickle) return response.end(bytes);
  let sent = 0;
  const timer = setInterval(() => {
    if (sent < bytes.length && !response.destroyed) response.write(bytes[sent]);
    else { clearInterval(timer); response.end(); }
    sent += 1;
  }, trickle * 1000);
  return timer;
}

/** Let the handler answer, and change the JSON of its answer. */
function patchAnswer(response, patch) {
  const end = response.end.bind(response);
  const chunks = [];
  const keep = (chunk, encoding) => {
    if (chunk && typeof chunk !== 'function') chunks.push(Buffer.from(chunk, typeof encoding === 'string' ? encoding : 'utf8'));
  };
  response.write = (chunk, encoding) => { keep(chunk, encoding); return true; };
  response.end = (chunk, encoding) => {
    keep(chunk, encoding);
    const changed = Buffer.from(JSON.stringify(mergePatch(JSON.parse(Buffer.concat(chunks)), patch)));
    response.setHeader('content-length', changed.length);
    delete response.write;
    return end(changed);
  };
}
