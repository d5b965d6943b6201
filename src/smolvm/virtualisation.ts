import { open } from 'node:fs/promises';
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
