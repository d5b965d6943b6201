/**
 * What bottles do whatever they are made of, by its name: each backend's tests run it with what is given of that backend,
 * and have `test` in their own file, which then is the one that a failure names.
 */
export type Cases<Given> = Readonly<Record<string, (given: Given) => Promise<void>>>;
