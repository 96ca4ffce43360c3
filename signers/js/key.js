// A private key: PEM in every form in which it is found, one algorithm, and its RFC 7638 name.

import { constants, createHash, createPrivateKey, createPublicKey, KeyObject, sign } from "node:crypto";

const LABELS = { "PRIVATE KEY": "pkcs8", "EC PRIVATE KEY": "sec1", "RSA PRIVATE KEY": "pkcs1" };
const FORMS = "write one PEM block `BEGIN PRIVATE KEY`, `BEGIN EC PRIVATE KEY` or `BEGIN RSA PRIVATE KEY`";
const CURVES = { "P-256": "ES256", "P-384": "ES384", "P-521": "ES512" };
const RSA_ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"];
const HASHES = { 256: "sha256", 384: "sha384", 512: "sha512" };
const PSS = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST };

/** No token may be signed with this key. The message never holds key material. */
export class KeyRefused extends Error {
  name = "KeyRefused";
}

/** A key that signs: `algorithm`, `kid` and `sign(text)`, which gives a Buffer. Throws KeyRefused. */
export function signingKey(given, algorithm) {
  const key = given instanceof KeyObject ? given : read(given);
  if (key.type !== "private") throw new KeyRefused("this key signs nothing: give the private key");
  const jwk = createPublicKey(key).export({ format: "jwk" });
  const choices = algorithmsOf(key, jwk);
  if (algorithm !== undefined && !choices.includes(algorithm)) throw new KeyRefused(`this key cannot have that algorithm: write ${choices.join(" or ")}`);
  const chosen = algorithm ?? choices[0];
  return { algorithm: chosen, kid: thumbprint(jwk), sign: (text) => signed(text, key, chosen) };
}

function read(given) {
  if (typeof given !== "string" && !(given instanceof Uint8Array)) throw new KeyRefused(`\`privateKey\` must be PEM text or a KeyObject: ${FORMS}`);
  let pem = (typeof given === "string" ? given : Buffer.from(given).toString("utf8")).replace(/^\ufeff/, "");
  if (/Proc-Type:/.test(pem) && /ENCRYPTED/.test(pem)) throw new KeyRefused("this private key is encrypted, and nobody is asked for its password");
  // `openssl ecparam -genkey` writes the curve's name as a block of its own before the key
  pem = pem.replace(/-----BEGIN EC PARAMETERS-----[^-]*-----END EC PARAMETERS-----/, "");
  const blocks = pem.split("-----BEGIN ").length - 1;
  if (blocks > 1) throw new KeyRefused(`${blocks} PEM blocks stand in one place: give one`);
  // environment variables and YAML turn line breaks into CRLF, spaces or a literal `\n`: all mean the same bytes
  const match = /^(?:\s|\\n|\\r)*-----BEGIN ([A-Z0-9 ]+)-----([^-]*)-----END \1-----(?:\s|\\n|\\r)*$/.exec(pem);
  if (match === null) throw new KeyRefused(`this is not one whole PEM block: ${FORMS}`);
  const [, label, body] = match;
  if (label === "ENCRYPTED PRIVATE KEY") throw new KeyRefused("this private key is encrypted, and nobody is asked for its password");
  if (label.includes("PUBLIC") || label.includes("CERTIFICATE")) throw new KeyRefused("this signs nothing: write the private key that belongs to it");
  if (!Object.hasOwn(LABELS, label)) throw new KeyRefused(`a PEM block \`${label}\` is not a private key: ${FORMS}`);
  try {
    return createPrivateKey({ key: Buffer.from(body.replace(/\\[nr]|\s/g, ""), "base64"), format: "der", type: LABELS[label] });
  } catch {
    throw new KeyRefused(`the PEM block \`${label}\` does not hold a private key of a known kind: ${FORMS}`);
  }
}

function algorithmsOf(key, jwk) {
  if (jwk.kty === "EC" && Object.hasOwn(CURVES, jwk.crv)) return [CURVES[jwk.crv]];
  if (jwk.kty === "OKP" && jwk.crv === "Ed25519") return ["EdDSA"];
  if (jwk.kty === "RSA" && key.asymmetricKeyType === "rsa") {
    const { modulusLength, publicExponent } = key.asymmetricKeyDetails;
    if (modulusLength < 2048 || modulusLength > 8192) throw new KeyRefused(`an RSA key of ${modulusLength} bits is not accepted: use 2048 to 8192 bits`);
    if (publicExponent !== 65537n) throw new KeyRefused("an RSA key with another public exponent than 65537 is not accepted: generate a new key");
    return RSA_ALGORITHMS;
  }
  throw new KeyRefused("keys of this kind cannot sign tokens: use P-256, P-384, P-521, Ed25519 or RSA");
}

// RFC 7638: SHA-256 over the required members in lexicographic order.
function thumbprint({ kty, crv, x, y, n, e }) {
  const members = { EC: { crv, kty, x, y }, OKP: { crv, kty, x }, RSA: { e, kty, n } }[kty];
  return createHash("sha256").update(JSON.stringify(members)).digest("base64url");
}

function signed(text, key, algorithm) {
  const data = Buffer.from(text, "ascii");
  if (algorithm === "EdDSA") return sign(null, data, key);
  const hash = HASHES[algorithm.slice(2)];
  if (algorithm.startsWith("ES")) return sign(hash, data, { key, dsaEncoding: "ieee-p1363" });
  return sign(hash, data, algorithm.startsWith("PS") ? { key, ...PSS } : key);
}
