import type { KeyObject } from "node:crypto";

/** What compares a field with a value. */
export type Operator =
  | "=" | "!=" | ">" | ">=" | "<" | "<="
  | "is_one_of" | "is_not_one_of"
  | "starts_with" | "ends_with" | "contains_substring" | "does_not_contain_substring"
  | "is_null" | "is_not_null" | "between" | "array_contains";

/** Numbers beyond Number.MAX_SAFE_INTEGER are written as BigInt. A Date is signed as ISO 8601 in UTC. */
export type Value = string | number | bigint | boolean | Date;

export type Filter =
  | { field: string; op: Exclude<Operator, "is_null" | "is_not_null">; value: Value | readonly Value[] }
  | { field: string; op: "is_null" | "is_not_null" };

/** `[[A, B], [C]]` is (A AND B) OR C. A flat list holds one filter. */
export type Filters = readonly (readonly Filter[])[] | readonly [] | readonly [Filter];

export type Parameter = Value | null | readonly Parameter[] | { readonly [name: string]: Parameter };

export interface Holder {
  /** Who this is, signed as `sub`. It opens nothing; tokens can be revoked by it. */
  subject?: string;
  /** The web pages that may use the token, like `https://app.example.com`. */
  allowedOrigins?: readonly string[];
  /** RFC 7638 thumbprint of the key whose holder may use the token (DPoP, RFC 9449). */
  dpopThumbprint?: string;
}

export interface DataClaims extends Holder {
  projectId?: string;
  dataSetIds: readonly string[] | "*";
  secureFilters: { readonly [dataSetId: string]: Filters };
  /** Values for filters of the configuration, which name them as `parameters.x`. */
  parameters?: { readonly [name: string]: Parameter } | null;
}

/** `projectId`, or `organisationId` as before October 2023: exactly one of the two. */
export interface DashboardClaims extends Holder {
  userReference: string;
  /** `standard` unless told; `editor` is the older word for `admin`. */
  accessType?: "standard" | "admin" | "editor";
  /** `read_write` unless told. */
  scope?: "read" | "read_write";
  projectId?: string;
  parentDashboardIds?: readonly string[];
  organisationId?: string;
  dashboardId?: string;
}

export interface Identity extends DataClaims, DashboardClaims {
  /** Taken for the sake of code that says `false`; rowseal has no such access to give. */
  allowDatabaseSchemaAccess?: false;
  allowDataPreviewAccess?: false;
  allowDatabaseWriteAccess?: readonly [];
}

export interface Tokens {
  dashboardAccessToken: string;
  dataAccessToken: string;
}

export interface SignerOptions {
  /** PEM (PKCS #8, SEC 1 or PKCS #1, not encrypted), or a private KeyObject. */
  privateKey: string | Uint8Array | KeyObject;
  /** The tokens' life: 15 unless told, more than 0 and at most a week of minutes. */
  ttlInMinutes?: number;
  /** One of those of an RSA key (RS256 unless told); every other key has one. */
  algorithm?: "ES256" | "ES384" | "ES512" | "EdDSA" | "RS256" | "RS384" | "RS512" | "PS256" | "PS384" | "PS512";
  /** Signed as `iss` and `aud`, for verifiers that demand them. */
  issuer?: string;
  audience?: string;
  /** Sign when the token was made (`iat`), and a name of its own (`jti`). */
  withIat?: boolean;
  withJti?: boolean;
  /** Milliseconds since 1970, as Date.now gives. */
  clock?: () => number;
}

/** Each method rejects with SigningRefused for claims that rowseal would refuse, or that give a secret away. */
export interface Signer {
  /** Both tokens of one person. */
  generateTokens(identity: Identity): Promise<Tokens>;
  signDataAccessToken(claims: DataClaims): Promise<string>;
  signDashboardAccessToken(claims: DashboardClaims): Promise<string>;
  /** Always rejects: rowseal takes no such token. */
  signQueryEngineAccessToken(claims?: unknown): Promise<never>;
}

/** Throws KeyRefused for the key, SigningRefused for the rest. */
export function createSigner(options: SignerOptions): Signer;

export class SigningRefused extends Error {}
export class KeyRefused extends Error {}
