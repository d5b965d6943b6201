import { ownerLabel } from '../engine/container.ts';
import { Owner } from '../process/owner.ts';
import { ifFits } from '../schema.ts';
import type { FoundBottle } from './backend.ts';
import type { Identity } from './init-arguments.ts';

/** Every label that is read again. The owner's pid has the label that all containers of ours have. */
export const label = {
  slug: 'claude-bottle.slug',
  version: 'claude-bottle.version',
  pid: ownerLabel,
  startTime: 'claude-bottle.owner.start-time',
  machine: 'claude-bottle.owner.machine',
  bootId: 'claude-bottle.owner.boot-id',
  pidNamespace: 'claude-bottle.owner.pid-namespace',
  user: 'claude-bottle.user',
  home: 'claude-bottle.keeps-home',
} as const;

type Labels = Readonly<Record<string, string>>;

export function labelsOf(bottle: FoundBottle, identity: Identity): Labels {
  const { owner } = bottle;
  return {
    [label.slug]: bottle.slug,
    [label.version]: bottle.version,
    [label.pid]: String(owner.pid),
    [label.startTime]: owner.startTime,
    [label.machine]: owner.machine,
    [label.bootId]: owner.bootId,
    [label.pidNamespace]: owner.pidNamespace,
    [label.user]: identity.user,
    [label.home]: String(identity.keepsHome),
  };
}

/** The bottle that these labels tell of; `undefined` when they are not ours, or not whole. */
export function bottleOf(labels: Labels): FoundBottle | undefined {
  const slug = labels[label.slug];
  const version = labels[label.version];
  const owner = ifFits(Owner, {
    pid: Number(labels[label.pid]),
    startTime: labels[label.startTime],
    machine: labels[label.machine],
    bootId: labels[label.bootId],
    pidNamespace: labels[label.pidNamespace],
  });
  if (slug === undefined || version === undefined || owner === undefined) return undefined;
  return { slug, version, owner };
}

export function identityOf(labels: Labels): Identity {
  return { user: labels[label.user] ?? '0:0', keepsHome: labels[label.home] === 'true' };
}
