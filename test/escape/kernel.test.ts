import { describe } from 'node:test';
import { allStopped, Cage, onEvery, sharedCage } from './cage.ts';
import { kernelAttempts } from './kernel-attempts.ts';
import { asRoot, asUser, init, rights } from './rights-attempts.ts';

onEvery('the kernel', (candidate) => {
  for (const [user, own] of [
    ['agent', asUser],
    ['root', asRoot],
  ] as const) {
    describe(`as ${user}`, () => {
      const cage = sharedCage(() => Cage.start(candidate, [`--user=${user}`]));
      allStopped(
        candidate,
        [...own, ...kernelAttempts(candidate.facts), ...init(candidate.facts), ...rights],
        cage,
        user,
      );
    });
  }
});
