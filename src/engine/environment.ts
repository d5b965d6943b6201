// What an engine's command reads for itself: where it finds the engine, its configuration, its storage and its helpers.
const steering =
  /^(PATH|HOME|TMPDIR|LD_.*|GO[A-Z]+|DOCKER_.*|BUILDKIT_.*|CONTAINERS?_.*|PODMAN_.*|_?CONTAINERS_.*|STORAGE_.*|REGISTRIES_.*|REGISTRY_.*|XDG_.*|DBUS_.*|NOTIFY_SOCKET|LISTEN_.*|SSL_CERT_.*)$/i;

/** Whether a variable of this name, in the environment of an engine's command, would change what the command does. */
function steersEngine(name: string): boolean {
  return steering.test(name);
}

/**
 * The variables that may be laid over the environment of an engine's command, which then passes them on by name
 * (`--env NAME`), so that their values are on no command line.
 */
export function nameable(env: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !steersEngine(name)));
}
