import type { AuditRecord } from './audit.ts';
import { formatAuthority } from './host.ts';

/**
 * A record as one line for people, without colour and without anything that a terminal would act on:
 * `2026-01-31T12:00:00Z allow GET http://a.example/x 200, 12 kB in, 0 B out, 35 ms (allow a.example, bottles/dev.md:3)`.
 */
export function describeRecord(record: AuditRecord): string {
  const { time, decision, status, reason, rule, origin, ms } = record;
  const facts = [
    ...(status === undefined ? [] : [`${status}`]),
    ...(reason === undefined || reason === '' ? [] : [reason]),
    ...(record.event === 'request' || record.event === 'close'
      ? [`${formatBytes(record.in)} in`, `${formatBytes(record.out)} out`]
      : []),
    ...(record.event === 'policy' ? [] : [`${Math.round(ms)} ms`]),
  ];
  const source = [rule, origin].filter((part) => part !== undefined);
  const line = [
    time.replace(/\.\d+Z$/, 'Z'),
    decision.padEnd(5),
    subjectOf(record),
    facts.join(', '),
    ...(record.event === 'policy' || source.length === 0 ? [] : [`(${source.join(', ')})`]),
  ];
  return line
    .filter((part) => part !== '')
    .join(' ')
    .replace(/[\p{C}\p{Zl}\p{Zp}]/gu, '?');
}

function subjectOf({ event, host, port, method, path, rule, origin }: AuditRecord): string {
  if (event === 'seal') return 'seal check';
  if (event === 'policy') return `policy changed: ${rule ?? ''} (${origin ?? ''})`;
  if (host === undefined || port === undefined) return 'a request that cannot be read';
  if (path !== undefined) return `${method ?? ''} http://${formatAuthority(host, port, 80)}${path}`;
  const verb = { request: 'tunnel', open: 'tunnel opened', close: 'tunnel closed' }[event];
  return `${verb} ${formatAuthority(host, port)}`;
}

function formatBytes(bytes: number): string {
  if (bytes < 1000) return `${bytes} B`;
  const units = ['kB', 'MB', 'GB', 'TB'];
  const power = Math.min(Math.floor(Math.log10(bytes) / 3), units.length);
  const value = bytes / 1000 ** power;
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ${units[power - 1] ?? ''}`;
}
