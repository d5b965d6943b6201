// A coding agent in miniature, with a script where others have a model: commits a change to the repository it is
// started in, then tries every way out that it can think of. One line for each attempt; exits with 1 if anything
// was not as it should be.
//
//   DEMO_ALLOWED_URL   an address that the bottle's rules allow; without it, that attempt is left out
//   DEMO_HOST_PORT     a port on which the host answers to itself; 22 by default
const { execFileSync } = require('node:child_process');
const dns = require('node:dns');
const fs = require('node:fs');
const http = require('node:http');
const net = require('node:net');
const tls = require('node:tls');

const patience = 1000;
const hostPort = Number(process.env.DEMO_HOST_PORT ?? 22);
const proxy = new URL(process.env.http_proxy ?? process.env.HTTP_PROXY ?? 'http://127.0.0.1:3128');
let bad = 0;

function say(isFine, tried, happened) {
  if (!isFine) bad += 1;
  console.log(`${isFine ? 'ok ' : 'BAD'}  ${tried}: ${happened}`);
}

function commit() {
  const git = (...args) =>
    execFileSync('git', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] }).trim();
  const file = fs.existsSync('README.md') ? 'README.md' : 'HELLO.md';
  try {
    fs.appendFileSync(file, '\nThe demo agent was here.\n');
    git('add', '--', file);
    git('commit', '-q', '-m', 'Say that the demo agent was here');
    say(true, `edit and commit ${file}`, git('log', '-1', '--format=%h %s (%an)'));
  } catch (error) {
    say(false, `edit and commit ${file}`, String(error.stderr || error.message).trim());
  }
}

/** What came of an attempt in at most `patience` milliseconds: a value, or the error's code. */
async function attempt(start) {
  let timer;
  const late = new Promise((resolve) => {
    timer = setTimeout(() => resolve({ failed: `no answer in ${patience} ms` }), patience);
  });
  const result = start().then(
    (value) => ({ value }),
    (error) => ({ failed: error.code ?? error.message }),
  );
  const first = await Promise.race([result, late]);
  clearTimeout(timer);
  return first;
}

function connect(host, port) {
  return new Promise((resolve, reject) => {
    const socket = net.connect({ host, port }, () => {
      resolve('it connected');
      socket.destroy();
    });
    socket.on('error', reject);
  });
}

/** A GET through the gate, as any HTTP client with a proxy setting makes it. */
function throughGate(address) {
  const url = new URL(address);
  const port = url.port || (url.protocol === 'https:' ? 443 : 80);
  return new Promise((resolve, reject) => {
    const finish = (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (part) => (text += part));
      response.on('end', () =>
        resolve({ status: response.statusCode, headers: response.headers, text: text.trim() }),
      );
      response.on('error', reject);
    };
    const to = { host: proxy.hostname, port: proxy.port, agent: false };
    if (url.protocol === 'http:') {
      http.get({ ...to, path: address, headers: { host: url.host } }, finish).on('error', reject);
      return;
    }
    const tunnel = http.request({ ...to, method: 'CONNECT', path: `${url.hostname}:${port}` });
    tunnel.on('error', reject);
    tunnel.on('connect', (response, socket) => {
      if (response.statusCode !== 200)
        return resolve({ status: response.statusCode, headers: response.headers, text: '' });
      const secure = tls.connect({ socket, servername: url.hostname });
      secure.on('error', reject);
      const path = `${url.pathname}${url.search}`;
      http
        .get({ createConnection: () => secure, path, headers: { host: url.host } }, finish)
        .on('error', reject);
    });
    tunnel.end();
  });
}

async function mustBeRefused(tried, address) {
  const { value, failed } = await attempt(() => throughGate(address));
  const reason = value?.headers['x-claude-bottle-reason'];
  if (value?.status === 403 && reason !== undefined) {
    say(true, tried, `refused by the gate (${reason})`);
    return value.text;
  }
  say(false, tried, failed ?? `it answered ${value.status}`);
}

async function mustFail(tried, start) {
  const { value, failed } = await attempt(start);
  // That a name does not exist is something only a name server knows.
  const isAnswer = ['ENOTFOUND', 'ENODATA', 'ESERVFAIL', 'EREFUSED'].includes(failed);
  say(
    failed !== undefined && !isAnswer,
    tried,
    isAnswer ? `a server answered (${failed})` : (failed ?? value),
  );
}

async function allowed() {
  const address = process.env.DEMO_ALLOWED_URL;
  if (address === undefined) {
    console.log('--   an allowed host: left out, since DEMO_ALLOWED_URL names none');
    return;
  }
  const { value, failed } = await attempt(() => throughGate(address));
  const isFine = value !== undefined && value.status >= 200 && value.status < 400;
  say(isFine, `${address}, which is allowed`, failed ?? `it answered ${value.status}`);
}

async function main() {
  commit();
  const blocked = 'http://blocked.example/upload?what=everything';
  const refusal = await mustBeRefused(`${blocked}, which no rule allows`, blocked);
  if (refusal !== undefined) console.log(refusal.replace(/^/gm, '     | '));
  await allowed();
  await mustBeRefused("the host's loopback through the gate", `http://127.0.0.1:${hostPort}/`);
  const lookup = (name) => dns.promises.lookup(name).then(({ address }) => `it is ${address}`);
  const resolver = new dns.promises.Resolver({ timeout: patience, tries: 1 });
  resolver.setServers(['1.1.1.1']);
  await Promise.all([
    mustFail('DNS lookup of example.com', () => lookup('example.com')),
    mustFail('DNS question to 1.1.1.1', () =>
      resolver.resolve4('example.com').then((all) => `it is ${all[0]}`),
    ),
    mustFail('TCP to 1.1.1.1:443', () => connect('1.1.1.1', 443)),
    mustFail('the metadata address 169.254.169.254:80', () => connect('169.254.169.254', 80)),
    mustFail(`the host's loopback, 127.0.0.1:${hostPort}`, () => connect('127.0.0.1', hostPort)),
    mustFail(`the host's bridge address, 172.17.0.1:${hostPort}`, () => connect('172.17.0.1', hostPort)),
  ]);
  console.log(bad === 0 ? 'All as it should be.' : `${bad} not as it should be.`);
  // A name lookup that goes on cannot be called off, so it is not waited for.
  process.exit(bad === 0 ? 0 : 1);
}

main();
