import { Component } from "react";
import type { ReactNode } from "react";

import { Button, CodeBlock, Note } from "@/components/ui";

interface Props {
  /** Changes when the reader goes elsewhere: what broke there may work here. */
  place: string;
  children: ReactNode;
}

interface State {
  error: unknown;
  place: string;
}

/** Shows what broke in place of a white page, and a way on. */
export class ErrorBoundary extends Component<Props, State> {
  override state: State = { error: null, place: this.props.place };

  static getDerivedStateFromError(error: unknown): Partial<State> {
    return { error };
  }

  static getDerivedStateFromProps({ place }: Props, state: State): Partial<State> | null {
    return place === state.place ? null : { error: null, place };
  }

  override render(): ReactNode {
    const { error } = this.state;
    if (error === null) return this.props.children;
    const stale = error instanceof Error && /dynamically imported module|module script/i.test(error.message);
    const text =
      error instanceof Error ? `${error.name}: ${error.message}\n${error.stack ?? ""}` : JSON.stringify(error);
    return (
      <Note
        tone="bad"
        live
        title={stale ? "A part of this page could not be loaded." : "This page failed because of a bug."}
        actions={
          <>
            <Button size="sm" variant="primary" onClick={() => window.location.reload()}>
              Reload the page
            </Button>
            <Button size="sm" onClick={() => this.setState({ error: null })}>
              Try again
            </Button>
          </>
        }
      >
        <p className="mb-2">
          {stale
            ? "The server was updated or has stopped. Nothing is lost: runs continue, and forms are kept in this browser."
            : "Runs continue, and forms are kept in this browser. The details below help to fix it."}
        </p>
        {!stale && <CodeBlock text={text} label="error details" wrap />}
      </Note>
    );
  }
}
