/** A WebSocket that comes back: partysocket waits and tries again, and asks for the address before each attempt. */

import Reconnecting from "partysocket/ws";

import { addressOf } from "@/lib/root";

export type SocketState = "connecting" | "open" | "lost";

export interface SocketOptions {
  /** The path with its query, asked for before every attempt: it can go on where it was. */
  path: () => string;
  /** A parsed frame; `first` for the first one after each connection. */
  onFrame: (frame: unknown, first: boolean) => void;
  onState?: ((state: SocketState) => void) | undefined;
  /** Called when an attempt ended before it was open: the server is gone, or it refuses this browser. */
  onRefused?: (() => void) | undefined;
}

const FIRST_DELAY_MS = 500;
const LONGEST_DELAY_MS = 15_000;
/** A connection that only opens and closes again must not be tried at full speed. */
const HOLDS_MS = 1000;

export class ReconnectingSocket {
  readonly #options: SocketOptions;
  #socket: Reconnecting;

  constructor(options: SocketOptions) {
    this.#options = options;
    this.#socket = this.#connect();
    window.addEventListener("online", this.#now);
    document.addEventListener("visibilitychange", this.#now);
  }

  /** Close for good. */
  close(): void {
    window.removeEventListener("online", this.#now);
    document.removeEventListener("visibilitychange", this.#now);
    this.#socket.onclose = null;
    this.#socket.close();
  }

  /** Connect again at once, for example from another position. */
  restart(): void {
    const old = this.#socket;
    this.#socket = this.#connect();
    old.close();
  }

  /** Do not wait for the next attempt when the network or the reader is back. */
  #now = (): void => {
    if (this.#socket.readyState === Reconnecting.CLOSED && document.visibilityState === "visible") this.restart();
  };

  #connect(): Reconnecting {
    const { path, onFrame, onState, onRefused } = this.#options;
    let opened = false;
    let first = true;
    const address = () => {
      opened = false;
      onState?.("connecting");
      return `${window.location.origin.replace(/^http/, "ws")}${addressOf(path())}`;
    };
    const socket = new Reconnecting(address, [], {
      // A random part, so that many pages do not return in the same instant.
      minReconnectionDelay: FIRST_DELAY_MS * (0.5 + 0.5 * Math.random()),
      maxReconnectionDelay: LONGEST_DELAY_MS,
      reconnectionDelayGrowFactor: 2,
      minUptime: HOLDS_MS,
      connectionTimeout: LONGEST_DELAY_MS,
    });
    socket.onopen = () => {
      opened = first = true;
      onState?.("open");
    };
    socket.onmessage = ({ data }: MessageEvent<unknown>) => {
      if (typeof data !== "string") return;
      const frame: unknown = JSON.parse(data);
      onFrame(frame, first);
      first = false;
    };
    socket.onclose = () => {
      if (socket !== this.#socket) return;
      onState?.("lost");
      if (!opened) onRefused?.();
    };
    return socket;
  }
}
