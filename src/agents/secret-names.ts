/** What tools keep keys and passwords in. Compared in lower case: macOS does not tell the cases apart. */
const files: readonly RegExp[] = [
  /^\.env/,
  /\.(?:pem|key|p12|pfx|ppk|jks|keystore|kdbx)$/,
  // Without a dot: `id_rsa.pub` is public, and `id_map.py` is no key.
  /^id_[^.]+$/,
  /^\.?credentials/,
  /^[._]netrc$/,
  /^\.(?:pypirc|pgpass|my\.cnf|htpasswd|git-credentials|vault-token)$/,
  /^auth\.json$/,
  /^secrets?\.(?:json|ya?ml|toml|txt)$/,
  /^service-account.*\.json$/,
];

const directories: readonly RegExp[] = [/^\.(?:ssh|gnupg|aws|azure|gcloud|kube|docker)$/];

/** Whether a file or directory of this name holds secrets wherever it is seen. What is in it does not count. */
export function isSecretName(name: string): boolean {
  const lower = name.toLowerCase();
  return [...files, ...directories].some((pattern) => pattern.test(lower));
}

/** Whether a file that is a secret only now and then, such as an `.npmrc`, is one. */
export function holdsToken(name: string, content: Buffer): boolean {
  return (
    name.toLowerCase() === '.npmrc' && /(?:_auth|_authToken|_password)\s*=/i.test(content.toString('latin1'))
  );
}
