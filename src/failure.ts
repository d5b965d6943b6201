/**
 * What every failure that a person will read is made of: a tag that names it and the facts that explain it. The words
 * live in one table, `commands/words`, so that a layer below never decides how something is said.
 */
export abstract class AnyFailure extends Error {
  abstract readonly tag: string;
  abstract readonly fields: object;
}

/**
 * Makes the base of one failure class: `class ImageMissing extends failure('ImageMissing')<{ reference: string }> {}`.
 * Secrets never belong in the fields.
 */
export function failure<Tag extends string>(tag: Tag) {
  return class Tagged<Fields extends object> extends AnyFailure {
    readonly tag: Tag = tag;
    readonly fields: Readonly<Fields>;
    constructor(fields: Fields, options?: ErrorOptions) {
      super(`${tag} ${JSON.stringify(fields)}`, options);
      this.name = tag;
      this.fields = fields;
    }
  };
}
