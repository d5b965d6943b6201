import { constants } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Machines } from '../../smolvm/machines.ts';
import type { BottleFile } from './bottle-file.ts';
import type { BottlePlace } from './bottle-place.ts';
import { machineName } from './names.ts';
import { SessionBroker } from './session-broker.ts';

/** What bottle-init gets, whom nobody is at the other end of any more, to end what it started. Milliseconds. */
const hangUpMs = 3_000;
/** For smolvm's own program to take note that its machine is no more. */
const goneMs = 3_000;

/** What this process holds of one bottle: shared by all handles on it. */
export class HeldSession {
  readonly #machines: Machines;
  readonly #place: BottlePlace;
  readonly #name: string;
  #broker: SessionBroker | undefined;
  #opening: Promise<SessionBroker> | undefined;
  #halting: Promise<void> | undefined;
  /** The machine was seen to run, and nobody here stopped it since. */
  isUp = false;

  constructor(machines: Machines, slug: string, place: BottlePlace) {
    this.#machines = machines;
    this.#place = place;
    this.#name = machineName(slug);
  }

  get broker(): SessionBroker | undefined {
    return this.#broker;
  }

  /** A broker whose command has not ended: the one that there is, or a new one. */
  async open(file: BottleFile): Promise<SessionBroker> {
    await this.#halting;
    if (this.#broker !== undefined && this.#broker.standing.state !== 'exited') return this.#broker;
    this.#opening ??= this.#renew(file).finally(() => (this.#opening = undefined));
    return await this.#opening;
  }

  /** Ends the command, by force after the grace, and the machine. */
  async stop(graceMs: number): Promise<void> {
    const broker = this.#broker;
    if (broker?.standing.state === 'running') await endSession(broker, graceMs);
    // Whoever waited longer than another must not end what was started since.
    if (this.#broker === broker) await this.halt();
  }

  /** Ends the machine, whatever runs in it. */
  halt(): Promise<void> {
    this.#halting ??= this.#halt().finally(() => (this.#halting = undefined));
    return this.#halting;
  }

  /** Lets go of the session, whose machine is going. */
  async drop(): Promise<void> {
    const broker = this.#broker;
    this.#broker = undefined;
    this.isUp = false;
    await broker?.[Symbol.asyncDispose]();
  }

  async #renew({ session }: BottleFile): Promise<SessionBroker> {
    await this.#broker?.[Symbol.asyncDispose]();
    this.#broker = await SessionBroker.listen({
      socketPath: this.#place.sessionSocket,
      directory: this.#place.directory,
      kind: session.kind,
      takesInput: session.takesInput,
      command: this.#machines.execCommand(this.#name, session.argv, { stdin: true }),
      isMachineGone: async () => (await this.#machines.status(this.#name))?.state !== 'running',
    });
    return this.#broker;
  }

  async #halt(): Promise<void> {
    const broker = this.#broker;
    if (broker?.standing.state === 'running') broker.expectForce();
    this.isUp = false;
    await this.#machines.stop(this.#name);
    if (broker !== undefined) await within(goneMs, broker.ended);
    await this.drop();
  }
}

async function endSession(broker: SessionBroker, graceMs: number): Promise<void> {
  if (graceMs > 0) {
    broker.signal(constants.signals.SIGTERM);
    if (await within(graceMs, broker.ended)) return;
  }
  broker.hangUp();
  await within(hangUpMs, broker.ended);
}

async function within(ms: number, work: Promise<void>): Promise<boolean> {
  const limit = new AbortController();
  try {
    return await Promise.race([
      work.then(() => true),
      sleep(ms, false, { signal: limit.signal }).catch(() => false),
    ]);
  } finally {
    limit.abort();
  }
}
