import type { Account } from '../backend.ts';

/** Docker's limit for both kinds of numbers (moby/sys, user/user.go: maxID); bottle-init has the same. */
const idMax = 0x7fffffff;

export type AccountResult = { readonly account: Account } | { readonly problem: string };

/**
 * Finds an account as bottle-init does (guest/src/account.c), and so as Docker does for USER: digits are always a
 * number; a number without an entry has group 0 and home `/`; a group that is given replaces the user's own. An entry
 * whose numbers are not numbers is no entry.
 * @param passwd the text of /etc/passwd, '' where there is none; `group` likewise. One character a byte.
 */
export function findAccount(spec: string, passwd: string, group: string): AccountResult {
  const colon = spec.indexOf(':');
  const user = (colon === -1 ? spec : spec.slice(0, colon)) || '0';
  const wantedGroup = colon === -1 ? '' : spec.slice(colon + 1);
  const found = findUser(user, passwd);
  if (typeof found === 'string') return { problem: found };
  if (wantedGroup === '') return { account: found };
  const gid = findGroup(wantedGroup, group);
  return typeof gid === 'string' ? { problem: gid } : { account: { ...found, gid } };
}

/** Whether /etc/group is needed at all. */
export function namesGroup(spec: string): boolean {
  return /:.*[^0-9]/.test(spec);
}

function findUser(wanted: string, passwd: string): Account | string {
  const isNumber = /^[0-9]+$/.test(wanted);
  const number = isNumber ? idOf(wanted) : undefined;
  if (isNumber && number === undefined) return "The user's number is over 2147483647.";
  for (const line of passwd.split('\n')) {
    const [name = '', , uidText = '', gidText = '', , home = ''] = line.split(':');
    const uid = idOf(uidText);
    const gid = idOf(gidText);
    if (name === '' || uid === undefined || gid === undefined) continue;
    if (isNumber ? uid === number : name === wanted) return { uid, gid, home: home === '' ? '/' : home };
  }
  return number === undefined
    ? 'There is no such user in its /etc/passwd.'
    : { uid: number, gid: 0, home: '/' };
}

function findGroup(wanted: string, group: string): number | string {
  if (/^[0-9]+$/.test(wanted)) return idOf(wanted) ?? "The group's number is over 2147483647.";
  for (const line of group.split('\n')) {
    const [name = '', , gidText = ''] = line.split(':');
    const gid = idOf(gidText);
    if (name === wanted && name !== '' && gid !== undefined) return gid;
  }
  return 'There is no such group in its /etc/group.';
}

function idOf(text: string): number | undefined {
  const value = /^[0-9]+$/.test(text) ? Number(text) : Number.NaN;
  return value <= idMax ? value : undefined;
}
