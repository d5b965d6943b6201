/** Second labels below which registries of countries sell names (`co.uk`, `com.au`). */
const registrySeconds = new Set(
  'ac asn co com edu firm gen gob gov gouv go govt gv id ind info ltd me mil muni name ne net nhs nom or org plc police pro res sch school web'.split(
    ' ',
  ),
);

/**
 * Services that give a name below theirs to anybody. A list of examples that matter, not the Public Suffix List
 * (publicsuffix.org, section PRIVATE DOMAINS), which changes weekly and is ten thousand lines long.
 */
const sharedNames = new Set([
  'amazonaws.com',
  'a.run.app',
  'run.app',
  'appspot.com',
  'azureedge.net',
  'azurefd.net',
  'azurewebsites.net',
  'blob.core.windows.net',
  'blogspot.com',
  'cloudapp.azure.com',
  'cloudapp.net',
  'cloudfront.net',
  'cloudfunctions.net',
  'core.windows.net',
  'deno.dev',
  'duckdns.org',
  'execute-api.us-east-1.amazonaws.com',
  'fastly.net',
  'firebaseapp.com',
  'firebaseio.com',
  'fly.dev',
  'github.dev',
  'github.io',
  'gitlab.io',
  'glitch.me',
  'herokuapp.com',
  'loca.lt',
  'netlify.app',
  'ngrok-free.app',
  'ngrok.app',
  'ngrok.io',
  'nip.io',
  'onrender.com',
  'pages.dev',
  'r2.dev',
  'railway.app',
  'readthedocs.io',
  'repl.co',
  'replit.app',
  'replit.dev',
  's3.amazonaws.com',
  'sslip.io',
  'supabase.co',
  'surge.sh',
  'trafficmanager.net',
  'trycloudflare.com',
  'vercel.app',
  'web.app',
  'windows.net',
  'wixsite.com',
  'wordpress.com',
  'workers.dev',
]);

/**
 * Why a wildcard below `base` opens the gate to names that anybody can get, or `undefined` if it does not. An empty
 * base is every host there is.
 */
export function tooBroad(base: string): string | undefined {
  if (base === '') return 'it matches every host';
  const labels = base.split('.');
  const [second = '', top = ''] = labels.slice(-2);
  if (labels.length === 1) return `anybody can register a name below .${base}`;
  if (labels.length === 2 && top.length === 2 && registrySeconds.has(second)) {
    return `anybody can register a name below .${base}`;
  }
  if (sharedNames.has(base) || /^s3[.-][a-z0-9-]+\.amazonaws\.com$/.test(base)) {
    return `anybody can get a name below ${base}`;
  }
  return undefined;
}
