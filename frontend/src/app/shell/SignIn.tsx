import { KeyRound } from "lucide-react";
import { useState } from "react";
import type { SubmitEvent } from "react";

import { api, useLoginMutation } from "@/api";
import { Button, Card, ErrorNote, TextField } from "@/components/ui";
import { addressOf } from "@/lib/root";
import { useAppDispatch } from "@/state/hooks";
import { signedIn } from "@/state/store";

/** What a browser sees that the server does not know yet. */
export function SignIn() {
  const [token, setToken] = useState("");
  const [login, { isLoading, error }] = useLoginMutation();
  const dispatch = useAppDispatch();
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    const answer = await login({ login: { token: token.trim() } });
    if (answer.error) return;
    dispatch(api.util.resetApiState());
    dispatch(signedIn());
  };
  return (
    <main className="mx-auto flex min-h-dvh max-w-md flex-col justify-center px-4 py-10">
      <div className="mb-6 flex items-center gap-2.5">
        <img src={addressOf("/favicon.svg")} alt="" className="size-8" />
        <h1 className="text-lg font-semibold">Droid FineTuning</h1>
      </div>
      <Card title="Sign this browser in" icon={KeyRound}>
        <p className="mb-4 text-muted">
          Open the link that <code className="font-mono text-ink">droidft serve</code> printed, or paste the token
          from the file <code className="font-mono text-ink">server/token</code> in its home folder. Nothing leaves
          this machine.
        </p>
        <form onSubmit={(event) => void submit(event)} className="space-y-4">
          <TextField
            label="Token"
            value={token}
            onValue={setToken}
            type="password"
            mono
            autoComplete="current-password"
          />
          {error && <ErrorNote error={error} />}
          <Button type="submit" variant="primary" busy={isLoading} disabled={token.trim() === ""} className="w-full">
            Sign in
          </Button>
        </form>
      </Card>
    </main>
  );
}
