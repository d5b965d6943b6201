import { open } from 'node:fs/promises';
import { run } from '../process/run.ts';
import { VirtualisationMissing } from './errors.ts';

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * What smolvm boots its machines with here. Looks without starting a program: opening /dev/kvm is what tells whether one
 * may, since a control group can refuse what the permissions allow. `CLAUDE_BOTTLE_KVM` names another device.
 * @throws VirtualisationMissing
 */
export async function virtualisation(env: Environment, platform = process.platform): Promise<string> {
  // Its absence shows only when a machine is booted (libkrun, src/hvf).
  if (platform === 'darwin') return 'Hypervisor.framework';
  const named = env['CLAUDE_BOTTLE_KVM'];
  const device = named === undefined || named === '' ? '/dev/kvm' : named;
  try {
    await using _opened = await open(device, 'r+');
    return device;
  } catch (error) {
    const { code = 'unknown' } = error as NodeJS.ErrnoException;
    const isAbsent = ['ENOENT', 'ENOTDIR', 'ENXIO', 'ENODEV'].includes(code);
    throw new VirtualisationMissing({ device, problem: isAbsent ? 'absent' : 'denied', code });
  }
}

/**
 * Whether this Mac's processor can do what Hypervisor.framework needs: `kern.hv_support` is 1 then (Apple,
 * "Hypervisor": "determine hypervisor support"). Starts a program.
 * @throws VirtualisationMissing
 */
export async function hypervisorFramework(env: Environment): Promise<string> {
  const device = 'Hypervisor.framework';
  const { stdout } = await run('sysctl', ['-n', 'kern.hv_support'], { env, deadlineMs: 10_000 });
  const said = stdout.trim();
  if (said === '1') return device;
  throw new VirtualisationMissing({ device, problem: 'absent', code: `kern.hv_support: ${said}` });
}
