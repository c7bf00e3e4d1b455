import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { Provider } from "react-redux";
import { BrowserRouter } from "react-router";

import { App } from "@/app/App";
import { ROOT } from "@/lib/root";
import { makeStore } from "@/state/store";

import "./index.css";

const root = document.getElementById("root");
if (!root) throw new Error("index.html has no #root");
createRoot(root).render(
  <StrictMode>
    <Provider store={makeStore()}>
      <BrowserRouter basename={ROOT}>
        <App />
      </BrowserRouter>
    </Provider>
  </StrictMode>,
);
