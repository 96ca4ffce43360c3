import type { Parameter } from "./index.js";

export interface ClientTokens {
  dataAccessToken: string;
  dashboardAccessToken?: string;
}

export interface ClientOptions {
  /** The gateway's address, like `https://data.example.com`. */
  url: string | URL;
  /** Gives the tokens that the page's own server signed; null where nobody is signed in. Asked when there is no token, or it is about to end. */
  identityCallback: () => Promise<ClientTokens | null> | ClientTokens | null;
  fetch?: typeof globalThis.fetch;
  /** Milliseconds since 1970, as Date.now gives. */
  clock?: () => number;
}

/** An integer beyond Number.MAX_SAFE_INTEGER is a bigint. Dates are ISO 8601 text. */
export type Cell = string | number | bigint | boolean | null | readonly Cell[] | { readonly [name: string]: Cell };

export interface Answer {
  columns: { name: string; type: string }[];
  rows: Cell[][];
  /** Whether there are more rows than the gateway hands out. */
  truncated: boolean;
}

export interface Dataset {
  id: string;
  name: string;
  /** How SQL names it. */
  sql: string;
  fields: { id: string; name: string; sql: string; type: string }[];
  queryable: boolean;
  refusal?: { code: string; detail: string; hint: string };
}

export interface Client {
  /** Rejects with SignedOut, RowsealError, the signal's reason, or what `identityCallback` throws. */
  query(sql: string, params?: { readonly [name: string]: Parameter }, options?: { dataSetId?: string; signal?: AbortSignal }): Promise<Answer>;
  datasets(options?: { signal?: AbortSignal }): Promise<Dataset[]>;
  forget(): void;
}

export function createClient(options: ClientOptions): Client;

export class SignedOut extends Error {}

export class RowsealError extends Error {
  readonly code: string;
  readonly status?: number;
  readonly detail: string;
  readonly hint: string;
  readonly requestId?: string;
  readonly line?: number;
  readonly column?: number;
}
