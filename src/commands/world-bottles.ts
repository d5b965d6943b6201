import { homedir } from 'node:os';
import { openPlaces, type Places, placesOf } from '../bottles/places.ts';
import { knownSlugs } from '../bottles/places.ts';
import type { World } from './world.ts';

/** Where this user's bottles are. */
export function bottlesPlaces({ environment }: World): Places {
  return placesOf(environment, homeOf(environment));
}

export function homeOf(environment: World['environment']): string {
  const home = environment['HOME'];
  return home === undefined || home === '' ? homedir() : home;
}

/**
 * The places of this user's bottles, after what killed supervisors left there has been removed. Work that was saved is
 * told, the rest is silent.
 */
export async function openBottles(world: World): Promise<Places> {
  const places = bottlesPlaces(world);
  await openPlaces(places);
  // Most of the time there is nothing to reap, and then nothing to load.
  if ((await knownSlugs(places)).length === 0) return places;
  const { reapAndTell } = await import('./reap-and-tell.ts');
  await reapAndTell(places, world);
  return places;
}
