// Signs the tokens that rowseal verifies: what a server calls once its own login has succeeded.

import { randomUUID } from "node:crypto";

import { binding, checkData, named, place } from "./claims.js";
import { KeyRefused, signingKey } from "./key.js";
import { refuseSecrets } from "./leaks.js";
import { plain, SigningRefused, write } from "./payload.js";

export { KeyRefused, SigningRefused };

// A week is the longest life that the vendor's documentation shows; verifiers allow two hours unless told otherwise.
const LONGEST_TTL_IN_MINUTES = 7 * 24 * 60;

const OPTIONS = ["privateKey", "ttlInMinutes", "algorithm", "issuer", "audience", "withIat", "withJti", "clock"];
const HOLDER = ["subject", "allowedOrigins", "dpopThumbprint"];
const DATA = ["projectId", "dataSetIds", "secureFilters", "parameters", ...HOLDER];
const DASHBOARD = ["userReference", "accessType", "scope", "organisationId", "dashboardId", "projectId", "parentDashboardIds", ...HOLDER];
// What the vendor's query engine tokens open. rowseal has nothing that they could open.
const ENGINE = ["allowDatabaseSchemaAccess", "allowDataPreviewAccess", "allowDatabaseWriteAccess"];
const NO_ENGINE_TOKEN = "rowseal takes no query engine access tokens: they open the database's schema and any SQL, past every filter";

/** A signer of dashboard and data access tokens with one private key. Throws KeyRefused or SigningRefused. */
export function createSigner(options) {
  const { privateKey, ttlInMinutes = 15, algorithm, issuer, audience, withIat = false, withJti = false, clock = Date.now } = known(options, OPTIONS);
  if (typeof ttlInMinutes !== "number" || !(ttlInMinutes > 0 && ttlInMinutes <= LONGEST_TTL_IN_MINUTES)) {
    throw new SigningRefused(`\`ttlInMinutes\` must be a number of minutes above 0 and at most ${LONGEST_TTL_IN_MINUTES}`);
  }
  const key = signingKey(privateKey, algorithm);
  const header = base64url(write({ alg: key.algorithm, kid: key.kid }));
  const issued = {};
  if (issuer !== undefined) issued.iss = named(issuer, "issuer");
  if (audience !== undefined) issued.aud = named(audience, "audience");

  /** The claims that both kinds of token may have. */
  function common(given, now) {
    const claims = { ...issued };
    if (given.subject !== undefined) claims.sub = named(given.subject, "subject");
    Object.assign(claims, binding(given));
    if (withIat) claims.iat = Math.floor(now / 1000);
    if (withJti) claims.jti = randomUUID();
    claims.expires = new Date(Math.floor(now + ttlInMinutes * 60_000)).toISOString();
    return claims;
  }

  function signed(claims) {
    refuseSecrets(claims);
    const text = `${header}.${base64url(write(claims))}`;
    return `${text}.${key.sign(text).toString("base64url")}`;
  }

  function data(given, now) {
    const { projectId, parameters } = given;
    const claims = plain({
      ...(projectId === undefined ? {} : { projectId: named(projectId, "projectId") }),
      dataSetIds: given.dataSetIds ?? null,
      secureFilters: given.secureFilters ?? null,
      ...(parameters === undefined ? {} : { parameters }),
      ...common(given, now),
    });
    checkData(claims);
    return signed(claims);
  }

  function dashboard(given, now) {
    const { accessType = "standard", scope = "read_write" } = given;
    if (!["standard", "admin", "editor"].includes(accessType)) throw new SigningRefused("`accessType` must be `standard` or `admin`");
    if (!["read", "read_write"].includes(scope)) throw new SigningRefused("`scope` must be `read` or `read_write`");
    const where = place(given);
    const userReference = named(given.userReference, "userReference");
    // `editor` is the older word for `admin`
    return signed(plain({ accessType: accessType === "standard" ? "standard" : "admin", ...where, userReference, scope, ...common(given, now) }));
  }

  return Object.freeze({
    async generateTokens(identity) {
      const given = known(identity, [...DATA, ...DASHBOARD, ...ENGINE]);
      for (const name of ENGINE) {
        const asked = given[name];
        if (asked !== undefined && asked !== false && !(Array.isArray(asked) && asked.length === 0)) throw new SigningRefused(NO_ENGINE_TOKEN);
      }
      const now = clock();
      const dashboardAccessToken = dashboard(given, now);
      return { dashboardAccessToken, dataAccessToken: data(given, now) };
    },
    async signDataAccessToken(claims) {
      return data(known(claims, DATA), clock());
    },
    async signDashboardAccessToken(claims) {
      return dashboard(known(claims, DASHBOARD), clock());
    },
    async signQueryEngineAccessToken() {
      throw new SigningRefused(NO_ENGINE_TOKEN);
    },
  });
}

/** The object's own members, those that are undefined or null left out. A name that is not known is a mistake: `allowedOrigin` would bind nothing. */
function known(given, names) {
  if (given === null || typeof given !== "object") throw new SigningRefused("an object of names and values is expected");
  for (const name of Object.keys(given)) {
    if (!names.includes(name)) throw new SigningRefused(`\`${name}\` is no name that is known here: write ${[...new Set(names)].join(", ")}`);
  }
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined && value !== null));
}

function base64url(ascii) {
  return Buffer.from(ascii, "ascii").toString("base64url");
}
