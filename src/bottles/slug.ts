import { randomInt } from 'node:crypto';

const alphabet = '0123456789abcdefghijklmnopqrstuvwxyz';
const randomLength = 5;

/** The name of one running bottle: `<agent>-<5 random base36>`. */
export function newSlug(agent: string, random: (limit: number) => number = randomInt): string {
  const tail = Array.from({ length: randomLength }, () => alphabet[random(alphabet.length)]);
  return `${agent}-${tail.join('')}`;
}

/** Whether a text can be a slug at all: it becomes part of paths, names of containers and of branches. */
export function isSlug(text: string): boolean {
  return /^[a-z][a-z0-9-]{0,56}-[0-9a-z]{5}$/.test(text);
}
