import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, describe, test } from 'node:test';
import { buildImage, type House, image } from '../bottles/house.ts';
import type { Behaviour, Place } from './behaviour.ts';
import { type Name, names, Street } from './candidates.ts';
import { behavioursOfCommands } from './commands.ts';
import { behavioursOfRuns } from './runs.ts';
import { behavioursOfWork } from './work.ts';

const behaviours: readonly Behaviour[] = [...behavioursOfRuns, ...behavioursOfCommands, ...behavioursOfWork];
const seen = new Map<string, Partial<Record<Name, string>>>();
const limitations = new URL('../../docs/limitations.md', import.meta.url);
let street: Street;

before(async () => {
  await buildImage();
  street = await Street.open();
});
after(async () => {
  await street[Symbol.asyncDispose]();
  process.stdout.write(table());
});

async function openPlace(name: Name): Promise<Place & AsyncDisposable> {
  const house = await street.house(name);
  const others: House[] = [];
  const started = await house.start(['--detach', '--', 'bash', '-c', 'echo here it is; exec sleep 3600']);
  assert.equal(started.code, 0, started.stderr);
  const slug = started.stdout.trim();
  return {
    house,
    slug,
    start: (script, flags = [], options = {}) => house.start([...flags, '--', 'bash', '-c', script], options),
    exec: (script, flags = [], options = {}) =>
      house.bottle(['exec', ...flags, slug, '--', 'bash', '-c', script], options),
    async another() {
      const other = await street.house(name);
      others.push(other);
      return other;
    },
    async [Symbol.asyncDispose]() {
      for (const each of [...others, house]) await each[Symbol.asyncDispose]();
    },
  };
}

for (const name of names) {
  describe(`a bottle of ${name}, from ${image}`, () => {
    let place: Place & AsyncDisposable;
    before(async () => {
      place = await openPlace(name);
    });
    after(async () => {
      await place[Symbol.asyncDispose]();
    });
    for (const behaviour of behaviours) {
      test(behaviour.name, async () => {
        const observed = await behaviour.observe(place);
        seen.set(behaviour.name, { ...seen.get(behaviour.name), [name]: observed });
        const other = name === 'smolmachines' ? behaviour.inMachines : undefined;
        assert.equal(observed, other?.expected ?? behaviour.expected);
        if (other === undefined) return;
        const text = (await readFile(limitations, 'utf8')).replaceAll(/\s+/g, ' ');
        assert.ok(text.includes(other.limitation), `docs/limitations.md does not say: ${other.limitation}`);
      });
    }
  });
}

/** What was seen: once where both are alike. */
function table(): string {
  const rows = behaviours.map(({ name }) => {
    const { docker = '?', smolmachines = '?' } = seen.get(name) ?? {};
    const both = docker === smolmachines ? `=  ${docker}` : `≠  ${docker}  /  ${smolmachines}`;
    return `${name.padEnd(62)} ${both.length > 90 ? `${both.slice(0, 89)}…` : both}\n`;
  });
  return `parity of ${names.join(' and ')}:\n${rows.join('')}`;
}
