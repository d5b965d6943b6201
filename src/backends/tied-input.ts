/**
 * What `bottle-init exec --tied` reads (docs/bottle-init.md): how many bytes of variables and of input follow, then
 * both. Its standard input has to stay open until the program may end.
 */
export function tiedInput(env: Readonly<Record<string, string>>, input: string): string {
  const variables = Object.entries(env)
    .map(([name, value]) => `${name}=${value}\0`)
    .join('');
  return `go ${Buffer.byteLength(variables)} ${Buffer.byteLength(input)}\n${variables}${input}`;
}
