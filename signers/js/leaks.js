// What looks like a secret is not signed: a token is signed and not encrypted, so whoever holds it reads every claim.
// The Python signer has the same rules (src/rowseal/signing/leaks.py); tests compare the two.

import { SigningRefused } from "./payload.js";

const VALUES = [
  ["a private key", /PRIVATE KEY-----/],
  ["a token", /(?<![\w-])ey[\w-]{8,}\.[\w-]{2,}\.[\w-]*/],
  ["a URL with a password", /(?<![a-z0-9+.-])[a-z][a-z0-9+.-]{0,30}:\/\/[^\s/?#:@]*:[^\s/?#@]+@/i],
  [
    "a connection string with a password",
    /(?:^|[;\s&?,'"])(?:password|passwd|pwd|accountkey|sharedaccesskey|secret|api[_-]?key)\s*=\s*[^\s;]/i,
  ],
];
const WORDS = /[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+/g;
const NAMES = new RegExp(
  "passwor[dt]|passwd|passphrase|credential|(?:^|_)(?:pwd|secrets?|dsn|(?:api|access|private|secret|signing|encryption)_?keys?" +
    "|(?:access|refresh|auth|bearer|session)_?tokens?|connection_?strings?|(?:database|db|connection)_?(?:url|uri))(?:_|$)",
);

/** Throws SigningRefused, with the place and without the value, for a value that looks like a secret, or a parameter that is called one. */
export function refuseSecrets(claims) {
  for (const [name, value] of Object.entries(claims)) look(value, name, name === "parameters");
}

function look(value, at, named) {
  if (typeof value === "string") {
    const found = VALUES.find(([, looks]) => looks.test(value));
    if (found) throw leak(`\`${at}\` looks like ${found[0]}`);
  } else if (Array.isArray(value)) {
    value.forEach((member, number) => look(member, `${at}[${number}]`, named));
  } else if (value !== null && typeof value === "object") {
    if ("kty" in value && ("d" in value || "k" in value)) throw leak(`\`${at}\` looks like a private key`);
    for (const [name, member] of Object.entries(value)) {
      const words = (name.match(WORDS) ?? []).join("_").toLowerCase();
      if (named && member !== null && typeof member !== "boolean" && NAMES.test(words)) throw leak(`\`${at}.${name}\` is called like a secret`);
      look(member, `${at}.${name}`, named);
    }
  }
}

function leak(what) {
  return new SigningRefused(`${what}, and a token is not encrypted: whoever holds it reads its claims; leave it out`);
}
