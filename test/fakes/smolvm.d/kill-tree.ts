import { readFileSync } from 'node:fs';

/** Stops, finds and kills the process of a pid file and all that descends from it (crun.rs `kill_process_tree`). */
export function killTree(pidFile: string): void {
  const found: number[] = [];
  const pending = [Number(textOf(pidFile))];
  for (let pid = pending.pop(); pid !== undefined; pid = pending.pop()) {
    if (!(pid > 1) || !signal(pid, 'SIGSTOP')) continue;
    found.push(pid);
    pending.push(...textOf(`/proc/${pid}/task/${pid}/children`).trim().split(/\s+/).map(Number));
  }
  for (const pid of found.reverse()) signal(pid, 'SIGKILL');
}

function textOf(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return '';
  }
}

function signal(pid: number, name: NodeJS.Signals): boolean {
  try {
    return process.kill(pid, name);
  } catch {
    return false;
  }
}
