import { render } from "preact";
import { onKeyNeeded } from "./api/client";
import { App } from "./app";
import { askForKey } from "./shell/dialogs";
import { loadTalks } from "./state/history";
import { loadModels } from "./state/models";
import { followAddress } from "./state/navigation";
import { followSettings } from "./state/settings";
import "./styles/base.css";
import "./styles/shell.css";
import "./styles/chat.css";
import "./styles/views.css";

onKeyNeeded(askForKey);
followSettings();
followAddress();
void loadTalks();
void loadModels();
render(<App />, document.getElementById("page") as HTMLElement);
