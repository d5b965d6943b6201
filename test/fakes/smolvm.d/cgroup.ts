import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, rmdirSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const root = '/sys/fs/cgroup';
const mib = 1024 * 1024;
/** A small guest's kernel gives out about as many pids; the host must outlive a fork bomb. */
const mostProcesses = 4096;

/** The control groups that stand for a VM's memory and its kernel's table of processes: one in v2, two in v1. */
export function makeCgroups(directory: string, memoryMib: number): string[] {
  const isUnified = existsSync(join(root, 'cgroup.controllers'));
  const groups = cgroupsOf(directory, isUnified);
  if (isUnified) writeFileSync(join(root, 'cgroup.subtree_control'), '+memory +pids');
  for (const group of groups) mkdirSync(group, { recursive: true });
  const [memory = '', pids = memory] = groups;
  const limit = isUnified ? 'memory.max' : 'memory.limit_in_bytes';
  writeFileSync(join(memory, limit), String(memoryMib * mib));
  writeFileSync(join(pids, 'pids.max'), String(mostProcesses));
  return groups;
}

/** The groups of the machine in that directory: machines of several data directories may have the same name. */
function cgroupsOf(directory: string, isUnified: boolean): string[] {
  const home = createHash('sha256').update(dirname(directory)).digest('hex').slice(0, 8);
  const name = `smolvm-double-${home}-${basename(directory)}`;
  return isUnified ? [join(root, name)] : [join(root, 'memory', name), join(root, 'pids', name)];
}

/** Waits until they are gone, whose VM has ended. One that was killed as it made them has no undertaker yet to remove them. */
export async function cgroupsGone(directory: string): Promise<void> {
  for (;;) {
    const left = [true, false]
      .flatMap((isUnified) => cgroupsOf(directory, isUnified))
      .filter((path) => existsSync(path));
    if (left.length === 0) return;
    for (const group of left) {
      try {
        rmdirSync(group);
      } catch {
        // Processes are left in it, which the undertaker ends.
      }
    }
    await sleep(2);
  }
}

/** A shell that joins the groups and becomes the program after `groups`. */
export function inCgroups(groups: readonly string[], program: readonly string[]): [string, string[]] {
  const join_ = groups.map((_, at) => `echo 0 > "$${at + 1}/cgroup.procs"`).join(' && ');
  return ['/bin/sh', ['-c', `${join_} && shift ${groups.length} && exec "$@"`, 'sh', ...groups, ...program]];
}

/**
 * A shell that waits for the end of its input, then kills what is left in the groups, first of all the process named in
 * `pidFile`, the first of its pid namespace, and removes them.
 */
export function undertaker(groups: readonly string[], pidFile: string): [string, string[]] {
  const script = `
    read -r _
    pidFile=$1; shift
    first=$(cat "$pidFile" 2>/dev/null)
    if [ -n "$first" ] && grep -qx "$first" "$1/cgroup.procs"; then kill -9 "$first"; fi
    tries=0
    while [ $tries -lt 1000 ]; do
      for group; do
        if [ -d "$group" ]; then
          left=$(cat "$group/cgroup.procs")
          if [ -n "$left" ]; then kill -9 $left; fi
          rmdir "$group"
        fi
      done
      left=
      for group; do if [ -d "$group" ]; then left=1; fi; done
      if [ -z "$left" ]; then exit 0; fi
      sleep 0.01
      tries=$((tries + 1))
    done`;
  return ['/bin/sh', ['-c', script, 'sh', pidFile, ...groups]];
}
