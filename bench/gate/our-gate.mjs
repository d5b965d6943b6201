// One gate in a process of its own, as a supervisor has it: MODULES (the built src/gate), SOCKET, LOG. Plain JavaScript,
// because Node's type stripping would be in the memory that is measured.
import { pathToFileURL } from 'node:url';

const [modules, socketPath, path] = process.argv.slice(2);
const { Gate } = await import(pathToFileURL(`${modules}/gate.js`).href);
const { makeRule } = await import(pathToFileURL(`${modules}/rule.js`).href);
const rule = makeRule(
  { host: '127.0.0.1', ports: 'any' },
  { action: 'allow', origin: { kind: 'command', command: 'allow' } },
);
const gate = await Gate.start({ socketPath, slug: 'bench-00000', rules: [rule], audit: { path } });
process.on('SIGTERM', () => void gate[Symbol.asyncDispose]());
await gate.closed;
